// Launches attention_row.cl, for Attention and for FusedAttention.
#pragma once
#include "device/opencl/opencl_device.h"
#include "ops/attention/attention.h"
#include "ops/qkv_store/qkv_store.h"

namespace xylem {

// store: what makes a's queries, which then are store->q as it comes, and stores the newest keys; or null.
void launch_attention_row(const Attention& a, const QkvStore* store, OpenClDevice& g);

}  // namespace xylem
