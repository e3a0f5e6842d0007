#include "ops/attention/attention.h"
#include "ops/attention/attention_items.h"

#define XYLEM_VEC_BODY "ops/attention/kv_store.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(KvStore);
}  // namespace
}  // namespace xylem
