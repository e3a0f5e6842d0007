#include "ops/attention/attention_items.h"
#include "ops/qkv_store/qkv_store.h"

#define XYLEM_VEC_BODY "ops/qkv_store/qkv_store.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(QkvStore);
}  // namespace
}  // namespace xylem
