#!/usr/bin/env bash
# The figures of docs/PERFORMANCE.md: bench/run.sh [BINARY]. Each command probes the machine's roofs in its own run; pairs that
# are compared alternate, since a virtual machine's bandwidth changes within minutes. Takes about 20 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
xylem=${1:-build/xylem}
lscpu | sed -n 's/^Model name: *//p'
uptime

batch() { echo "\$ xylem bench one-batch $*"; "$xylem" bench one-batch --load-format dummy --log-level error "$@"; echo; }
for model in qwen3-0.6b gemma4-e2b; do
  m="--model bench/configs/$model"
  for _ in 1 2; do  # depth 0 and depth 2048, alternating
    batch $m --input-len 16 --output-len 64 --repeats 2
    batch $m --input-len 2048 --output-len 64 --repeats 1 --chunked-prefill-size 512
  done
  batch $m --input-len 512 --output-len 2 --repeats 3 --chunked-prefill-size 512
  batch $m --batch-size 16 --input-len 32 --output-len 64 --repeats 1
done

# The other families, one stream each: shapes of released models, two cut to six layers.
for model in qwen3.5-4b gpt-oss-20b-6-layers gpt-oss-20b-6-layers-bf16 deepseek-v2-lite-6-layers; do
  m="--model bench/configs/$model"
  batch $m --input-len 16 --output-len 48 --repeats 2
  batch $m --input-len 512 --output-len 2 --repeats 2 --chunked-prefill-size 512
done

# Eight clients over HTTP against the engine alone, then eight equal prompts at once.
port=31873
"$xylem" serve --model bench/configs/qwen3-0.6b --load-format dummy --port $port --log-level error &
server=$!
trap 'kill $server 2>/dev/null' EXIT
for _ in $(seq 100); do curl -sf http://127.0.0.1:$port/health >/dev/null && break; sleep 0.2; done
serving() { echo "\$ xylem bench serving $*"; "$xylem" bench serving --url http://127.0.0.1:$port "$@"; echo; }
for seed in 1 2; do
  serving --num-prompts 8 --input-len 120 --output-len 64 --max-concurrency 8 --seed $seed
  kill -STOP $server  # its threads must not share the cores with the engine alone
  batch --model bench/configs/qwen3-0.6b --batch-size 8 --input-len 120 --output-len 64 --repeats 1
  kill -CONT $server
done
serving --num-prompts 8 --input-len 488 --output-len 8 --same-prompt --max-concurrency 8 --seed 7
