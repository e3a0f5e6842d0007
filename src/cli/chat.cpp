#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>

#include <editline/readline.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/session.h"

namespace xylem {
namespace {

constexpr const char* kHelp =
    "/image FILE     show the model a picture (PNG, JPEG, WebP) with the next message; may be given several times\n"
    "/clear          forget the conversation and the pictures that wait\n"
    "/system TEXT    set the system message (empty: none) and forget the conversation\n"
    "/help           this list\n"
    "/exit           leave, as does Ctrl-D\n"
    "Ctrl-C stops an answer; at the prompt it clears the line. Anything else is said to the model.\n";

std::atomic<bool> g_interrupted{false};

// Ctrl-C only sets the flag: the answer that is being printed stops, the program goes on.
void catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_interrupted = true; };
  sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: a blocked read returns
}

// Lines of a person at a terminal, with editing and a history kept over runs; plain lines of a file or pipe.
class Lines {
 public:
  Lines() : terminal_(isatty(0) && isatty(1)) {
    if (!terminal_) return;
    rl_initialize();
    using_history();
    stifle_history(1000);
    if (const char* home = std::getenv("HOME")) history_file_ = (std::filesystem::path(home) / ".xylem_history").string();
    if (!history_file_.empty()) read_history(history_file_.c_str());
  }
  bool terminal() const { return terminal_; }
  bool next(std::string& line) {
    if (!terminal_) return bool(std::getline(std::cin, line));
    while (true) {
      g_interrupted = false;
      const std::unique_ptr<char, decltype(&std::free)> text(readline("> "), std::free);
      if (text == nullptr && g_interrupted) {
        std::fputc('\n', stdout);
        continue;
      }
      if (text == nullptr) return false;
      line = text.get();
      if (line.empty()) return true;
      add_history(line.c_str());
      if (!history_file_.empty()) write_history(history_file_.c_str());
      return true;
    }
  }

 private:
  bool terminal_;
  std::string history_file_;
};

class Conversation {
 public:
  Conversation(Session& session, const ChatOptions& o) : session_(session), options_(o) { restart(o.system); }

  void restart(const std::string& system) {
    system_ = system;
    messages_ = Json::array();
    images_ = Json::array();
    if (!system.empty()) messages_.push_back({{"role", "system"}, {"content", system}});
  }
  void restart() { restart(std::string(system_)); }

  // For the next message.
  void attach(const std::string& file) {
    auto part = session_.engine().info().images ? image_part(file) : Result<Json>(invalid("this model takes no images"));
    if (part) images_.push_back(*std::move(part));
    else fmt::print(stderr, "xylem: {}\n", part.error().text);
  }

  // Prints the answer. A refused message leaves the conversation as it was, but its pictures are gone.
  void say(const std::string& text) {
    Json body = sampling_body(options_.sampling);
    body["messages"] = messages_;
    body["messages"].push_back({{"role", "user"}, {"content", message_content(text, std::exchange(images_, Json::array()))}});
    g_interrupted = false;
    const auto answer = session_.ask(body, [faint = isatty(1) != 0, last = '\n'](std::string_view piece, bool reasoning) mutable {
      if (!reasoning && std::exchange(last, '\n') != '\n') std::fputc('\n', stdout);
      if (reasoning) last = piece.back();
      if (reasoning && faint) std::fputs("\033[2m", stdout);
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      if (reasoning && faint) std::fputs("\033[0m", stdout);
      std::fflush(stdout);
    }, &g_interrupted);
    if (!answer) {
      fmt::print(stderr, "xylem: {}\n", answer.error().text);
      return;
    }
    fmt::print("{}\n", answer->finish == "abort" ? " [stopped]" : answer->finish == "length" ? " [cut at the token limit]" : "");
    std::fflush(stdout);
    if (options_.stats) fmt::print(stderr, "{}\n", describe(*answer));
    messages_ = std::move(body["messages"]);
    messages_.push_back({{"role", "assistant"}, {"content", answer->text}});
  }

 private:
  Session& session_;
  const ChatOptions& options_;
  std::string system_;
  Json messages_, images_;  // images_: parts that go with the next message
};

// False when the person wants to leave.
bool obey(const std::string& line, Conversation& conversation) {
  const size_t space = line.find(' ');
  const std::string command = line.substr(0, space);
  if (command == "/exit" || command == "/quit") return false;
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  if (command == "/clear") conversation.restart();
  else if (command == "/system") conversation.restart(argument);
  else if (command == "/image") conversation.attach(argument);
  else if (command == "/help") std::fputs(kHelp, stdout);
  else fmt::print(stderr, "xylem: unknown command {}; /help lists them\n", command);
  return true;
}

}  // namespace

Status chat(ChatOptions o) {
  TRY(const auto session, Session::open(o.model, "warning"));
  catch_interrupt();
  Lines lines;
  if (lines.terminal()) fmt::print("{}: /help for help, Ctrl-D to leave\n", session->engine().info().model);
  Conversation conversation(*session, o);
  for (std::string line; lines.next(line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line[0] != '/') conversation.say(line);
    else if (!obey(line, conversation)) break;
  }
  return {};
}

}  // namespace xylem
