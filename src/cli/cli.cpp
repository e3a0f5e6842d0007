#include "cli/cli.h"

#include <cstdio>
#include <functional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/help.h"

namespace xylem {
namespace {

// Every add_* declares one command; parsing it sets the action.
struct Program {
  CLI::App app{
      "xylem serves large language models from one program, behind an API that OpenAI's clients speak.\n\n"
      "A model is a checkpoint folder as Hugging Face saves it. Where no --model is given, the demo model that comes with "
      "xylem is used: small enough for any machine, trained on sums, capitals, spelling and JSON.",
      "xylem"};
  std::function<Status()> action;

  template <class Options>
  CLI::App* add(CLI::App& parent, const char* name, const char* description, const char* examples, std::shared_ptr<Options> options,
                Status (*run)(Options)) {
    CLI::App* command = parent.add_subcommand(name, description);
    command->footer(examples);
    command->callback([this, options, run] { action = [options, run] { return run(std::move(*options)); }; });
    return command;
  }
};

void add_serve(Program& p) {
  auto o = std::make_shared<ServeOptions>();
  CLI::App* c = p.add(p.app, "serve",
                      "Serve a model over HTTP.\n\n"
                      "Routes: /v1/chat/completions, /v1/completions and /v1/models as OpenAI's clients use them; /generate, /tokenize, "
                      "/detokenize, /abort_request, /flush_cache; /health, /metrics (Prometheus), /server_info and /model_info.\n\n"
                      "Sizes that are not set are chosen from the machine and the model and printed at start. Ctrl-C or SIGTERM ends "
                      "the server when its running requests have ended; a second one ends it at once.",
                      "Examples:\n"
                      "  xylem serve\n"
                      "  xylem serve --model ~/models/gemma-4-E2B-it --port 8000 --kv-memory 4G\n"
                      "  curl http://127.0.0.1:30000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
                      "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}]}'",
                      o, serve);
  add_engine_options(*c, o->model);
  add_server_options(*c, o->server);
}

void add_run(Program& p) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* c = p.add(p.app, "run",
                      "Answer one prompt.\n\nThe prompt goes through the model's chat template as one message of the user; the answer "
                      "is printed as it grows. Only the answer goes to standard output.",
                      "Examples:\n"
                      "  xylem run 'What is the capital of France?'\n"
                      "  xylem run --model ~/models/Qwen3-0.6B --temperature 0 --stats 'Why is the sky blue?'\n"
                      "  xylem run --raw --max-tokens 50 'Once upon a time'\n"
                      "  xylem run --image photo.jpg 'What is in the picture?'\n"
                      "  cat question.txt | xylem run --seed 7 > answer.txt",
                      o, run_prompt);
  c->add_option("prompt", o->prompt, "The prompt; - or nothing reads it from standard input")->type_name("PROMPT")->group("Prompt");
  c->add_option("--system", o->system, "System message before the prompt")->type_name("TEXT")->group("Prompt");
  c->add_option("--image", o->images, "Picture (PNG, JPEG, WebP) shown before the prompt; may be given several times")
      ->type_name("FILE")->take_all()->allow_extra_args(false)->group("Prompt");
  c->add_flag("--raw", o->raw, "Continue the prompt as it is, without the chat template")->group("Prompt");
  c->add_flag("--stats", o->stats, "Print token counts and speed to standard error")->group("Prompt");
  add_sampling_options(*c, o->sampling);
  add_engine_options(*c, o->model);
}

void add_chat(Program& p) {
  auto o = std::make_shared<ChatOptions>();
  CLI::App* c = p.add(p.app, "chat",
                      "Talk with a model in the terminal.\n\nLines can be edited and found again with the arrow keys; they are kept in "
                      "~/.xylem_history. Ctrl-C stops the answer that is being written, Ctrl-D leaves. /clear forgets the conversation, "
                      "/system TEXT sets the system message, /image FILE shows a picture with the next message, /help lists the commands. Reads plain lines where the input is no terminal.",
                      "Examples:\n"
                      "  xylem chat\n"
                      "  xylem chat --model ~/models/gemma-4-E2B-it --system 'Answer in one sentence.' --temperature 0.7\n"
                      "  printf 'What is 2 + 3?\\nSpell cat.\\n' | xylem chat",
                      o, chat);
  c->add_option("--system", o->system, "System message that opens the conversation")->type_name("TEXT")->group("Prompt");
  c->add_flag("--stats", o->stats, "Print token counts and speed after each answer")->group("Prompt");
  add_sampling_options(*c, o->sampling);
  add_engine_options(*c, o->model);
}

void add_inspect(Program& p) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* c = p.add(p.app, "inspect",
                      "Show what a checkpoint is and the memory it needs.\n\nReads config.json and, where they are there, the headers of "
                      "the weights; loads nothing.",
                      "Examples:\n"
                      "  xylem inspect\n"
                      "  xylem inspect ~/models/gemma-4-26B-A4B-it\n"
                      "  xylem inspect --tensors models/demo",
                      o, inspect);
  c->add_option("model", o->model, "Checkpoint folder (default: the demo model)")->type_name("MODEL")->group("Options");
  c->add_option("--dtype", o->dtype, "As for serve: with float32 the cache takes twice the bytes")
      ->type_name("TYPE")->check(CLI::IsMember({"auto", "bfloat16", "float32", "float16"}))->group("Options");
  c->add_flag("--tensors", o->tensors, "List every tensor the model wants")->group("Options");
}

void add_devices(Program& p) {
  auto o = std::make_shared<DevicesOptions>();
  CLI::App* c = p.add(p.app, "devices", "Show what this machine can compute with.",
                      "Examples:\n  xylem devices\n  xylem devices --kernels", o, devices);
  c->add_flag("--kernels", o->kernels, "List every kernel in this program instead: operation, device, name")->group("Options");
}

void add_bench_one_batch(Program& p, CLI::App& bench) {
  auto o = std::make_shared<BenchBatchOptions>();
  CLI::App* c = p.add(bench, "one-batch",
                      "Measure the engine, without HTTP: one batch of equal requests.\n\nPrints the latency and throughput of the prompts "
                      "(prefill) and of one step of the batch (decode), and beside them what the machine can do, probed in the same run: "
                      "the bandwidth of reading memory and the peak of bfloat16 products. A decode step has to read every weight once, "
                      "so its share of that bandwidth says how good it can still get.",
                      "Examples:\n"
                      "  xylem bench one-batch --model bench/configs/gemma4-e2b --load-format dummy --input-len 512 --output-len 64\n"
                      "  xylem bench one-batch --model bench/configs/qwen3-0.6b --load-format dummy --batch-size 16 --threads 2",
                      o, bench_one_batch);
  const char* group = "Load";
  c->add_option("--batch-size", o->batch_size, "Requests at once (default: 1)")->type_name("N")->check(CLI::Range(1, 4096))->group(group);
  c->add_option("--input-len", o->input_len, "Tokens of each prompt (default: 128)")->type_name("N")->check(CLI::Range(1, 1 << 22))->group(group);
  c->add_option("--output-len", o->output_len, "Tokens of each answer (default: 64)")->type_name("N")->check(CLI::Range(2, 1 << 20))->group(group);
  c->add_option("--repeats", o->repeats, "Measurements after one to warm up (default: 3)")->type_name("N")->check(CLI::Range(1, 1000))->group(group);
  c->add_flag("--json", o->json, "Print the figures as one line of JSON")->group(group);
  add_engine_options(*c, o->model);
}

void add_bench_serving(Program& p, CLI::App& bench) {
  auto o = std::make_shared<BenchServingOptions>();
  CLI::App* c = p.add(bench, "serving",
                      "Measure a running server over HTTP with streams of random tokens.\n\nSpeaks the native /generate route. Reports "
                      "throughput, the time to the first token, between tokens and to the end.",
                      "Examples:\n"
                      "  xylem bench serving --num-prompts 100 --input-len 120 --output-len 64 --max-concurrency 8\n"
                      "  xylem bench serving --url http://127.0.0.1:8000 --request-rate 4 --range-ratio 0.5",
                      o, bench_serving);
  const char* load = "Load";
  c->add_option("--num-prompts", o->num_prompts, "Requests in total (default: 200)")->type_name("N")->check(CLI::Range(1, 1000000))->group(load);
  c->add_option("--input-len", o->input_len, "Longest prompt in tokens (default: 128)")->type_name("N")->check(CLI::Range(1, 1 << 20))->group(load);
  c->add_option("--output-len", o->output_len, "Longest answer in tokens (default: 64)")->type_name("N")->check(CLI::Range(1, 1 << 20))->group(load);
  c->add_option("--range-ratio", o->range_ratio, "Lengths are random between this share of the longest and the longest (default: 1)")
      ->type_name("X")->check(CLI::Range(0.0, 1.0))->group(load);
  c->add_option("--request-rate", o->request_rate, "Requests a second, at random times (default: all at once)")
      ->type_name("X")->check(CLI::PositiveNumber)->group(load);
  c->add_option("--max-concurrency", o->max_concurrency, "Requests in flight at most (default: no limit)")
      ->type_name("N")->check(CLI::Range(1, 100000))->group(load);
  c->add_flag("--same-prompt", o->same_prompt, "All requests share one prompt: the prefix cache at work")->group(load);
  c->add_option("--warmup-requests", o->warmup, "Requests before the measurement (default: 1)")->type_name("N")->check(CLI::Range(0, 1000))->group(load);
  c->add_option("--seed", o->seed, "Of the random prompts (default: 42)")->type_name("N")->group(load);
  const char* server = "Server";
  c->add_option("--url", o->url, "Where it listens (default: http://127.0.0.1:30000)")->type_name("URL")->group(server);
  c->add_option("--api-key", o->api_key, "Its key")->type_name("KEY")->group(server);
  c->add_option("--output-file", o->output_file, "Append the figures to this file, a line of JSON a run")->type_name("FILE")->group(server);
}

void add_bench_ops(Program& p, CLI::App& bench) {
  auto o = std::make_shared<BenchOpsOptions>();
  CLI::App* c = p.add(bench, "ops", "Measure every kernel of every operation on the operation's test cases.",
                      "Examples:\n  xylem bench ops --op rms_norm\n  xylem bench ops --isa avx2 --threads 1", o, bench_ops);
  c->add_option("--op", o->op, "Only this operation")->type_name("NAME")->group("Options");
  c->add_option("--isa", o->isa, "Instruction set; see serve --help")->type_name("NAME")->group("Options");
  c->add_option("--threads", o->threads, "Compute threads (default: one for each core)")->type_name("N")->check(CLI::Range(1, 1024))->group("Options");
  c->add_option("--seconds", o->seconds, "For each kernel and case (default: 0.2)")->type_name("X")->check(CLI::Range(0.0, 60.0))->group("Options");
}

void add_bench(Program& p) {
  CLI::App* bench = p.app.add_subcommand("bench", "Measure the engine, a server or single operations.");
  bench->require_subcommand(1);
  add_bench_one_batch(p, *bench);
  add_bench_serving(p, *bench);
  add_bench_ops(p, *bench);
}

void add_eval(Program& p) {
  auto o = std::make_shared<EvalOptions>();
  CLI::App* c = p.add(p.app, "eval",
                      "Score a model on a file of questions.\n\nThe file holds {\"items\": [{\"task\", \"messages\", \"expected\", "
                      "\"reference_text\", \"reference_correct\"}, ...]}. Each item is answered greedily; the table shows for each task how "
                      "many answers are right, how many the reference implementation had right, and how many differ from the reference's. "
                      "Images are files beside that file; a model that takes none leaves those items out.",
                      "Examples:\n"
                      "  xylem eval tests/golden/demo/eval.json\n"
                      "  xylem eval --url http://127.0.0.1:30000 --concurrency 16 tests/golden/demo/eval.json",
                      o, eval);
  const char* group = "Questions";
  c->add_option("file", o->file, "The questions")->type_name("FILE")->required()->check(CLI::ExistingFile)->group(group);
  c->add_option("--url", o->url, "Ask a running server instead of loading a model here")->type_name("URL")->group(group);
  c->add_option("--api-key", o->api_key, "The server's key")->type_name("KEY")->group(group);
  c->add_option("--concurrency", o->concurrency, "Questions in flight (default: 8)")->type_name("N")->check(CLI::Range(1, 256))->group(group);
  c->add_flag("--show-differences", o->show_differences, "Print the items whose answer differs from the reference's")->group(group);
  add_engine_options(*c, o->model);
}

int fail(const std::string& who, const std::string& text, int status) {
  fmt::print(stderr, "{}: {}\n", who, text);
  return status;
}

// The innermost command on the line, "xylem bench serving".
std::string command_name(const CLI::App& app) {
  std::string name = app.get_name();
  for (const CLI::App* a = &app; !a->get_subcommands().empty();) {
    a = a->get_subcommands().front();
    name += " " + a->get_name();
  }
  return name;
}

}  // namespace

int cli_main(int argc, char** argv) {
  Program p;
  p.app.formatter(help_formatter());
  p.app.set_version_flag("--version", std::string("xylem ") + kVersion, "Print the version");
  p.app.require_subcommand(1);
  p.app.set_help_flag("-h,--help", "Print this page");
  for (auto add : {add_serve, add_run, add_chat, add_inspect, add_devices, add_bench, add_eval}) add(p);
  p.app.footer("xylem COMMAND --help explains a command.\n\nExamples:\n  xylem run 'What is the capital of France?'\n  xylem chat\n  xylem serve --port 8000");
  try {
    p.app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return p.app.exit(e);
  } catch (const CLI::ParseError& e) {
    const std::string name = command_name(p.app);
    return fail(name, std::string(e.what()) + " (" + name + " --help explains)", 2);
  }
  const Status status = p.action();
  return status.ok() ? 0 : fail("xylem", status.error().text, 1);
}

}  // namespace xylem
