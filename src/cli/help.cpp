#include "cli/help.h"

#include <sstream>
#include <string>

namespace xylem {
namespace {

constexpr size_t kWidth = 100, kIndent = 34;

// Breaks text at spaces; line breaks of the text stay. Every line but the first starts with `indent` spaces.
std::string wrap(const std::string& text, size_t indent) {
  std::string out, line;
  auto flush = [&](bool last) {
    out += line + (last ? "" : "\n" + std::string(indent, ' '));
    line.clear();
  };
  std::istringstream paragraphs(text);
  for (std::string paragraph; std::getline(paragraphs, paragraph);) {
    if (!out.empty() || !line.empty()) flush(false);
    std::istringstream words(paragraph);
    for (std::string word; words >> word;) {
      if (!line.empty() && indent + line.size() + 1 + word.size() > kWidth) flush(false);
      line += (line.empty() ? "" : " ") + word;
    }
  }
  flush(true);
  return out;
}

// "PORT" of "PORT:INT in [0 - 65535]": what the checks accept is said in the descriptions.
std::string type_of(const CLI::Option& o) {
  const std::string type = o.get_type_name();
  return type.substr(0, type.find(':'));
}

std::string names_of(const CLI::Option& o) {
  std::string names;
  for (const auto& n : o.get_snames()) names += (names.empty() ? "-" : ", -") + n;
  for (const auto& n : o.get_lnames()) names += (names.empty() ? "--" : ", --") + n;
  if (names.empty()) return type_of(o);  // a positional one
  if (o.get_items_expected_max() != 0 && !type_of(o).empty()) names += " " + type_of(o);
  return names;
}

std::string row(const std::string& left, const std::string& right) {
  std::string out = "  " + left;
  out += out.size() + 2 > kIndent ? "\n" + std::string(kIndent, ' ') : std::string(kIndent - out.size(), ' ');
  return out + wrap(right, kIndent) + "\n";
}

std::string usage(const CLI::App& app) {
  std::string path;
  for (const CLI::App* a = &app; a; a = a->get_parent()) path = a->get_name() + (path.empty() ? "" : " ") + path;
  std::string line = "Usage: " + path;
  if (!app.get_subcommands({}).empty()) return line + " COMMAND [OPTIONS]\n";
  line += " [OPTIONS]";
  for (const CLI::Option* o : app.get_options())
    if (o->get_positional())
      line += o->get_required() ? " " + type_of(*o) : " [" + type_of(*o) + "]";
  return line + "\n";
}

std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) {
  std::string out = wrap(app->get_description(), 0) + "\n\n" + usage(*app);
  const auto commands = app->get_subcommands({});
  if (!commands.empty()) out += "\nCommands:\n";
  for (const CLI::App* c : commands) {
    const std::string text = c->get_description();
    out += row(c->get_name(), text.substr(0, text.find('\n')));
  }
  std::vector<std::string> groups = app->get_groups();
  for (const std::string& group : groups) {
    const auto options = app->get_options([&](const CLI::Option* o) { return o->get_group() == group; });
    if (group.empty() || options.empty()) continue;
    out += "\n" + group + ":\n";
    for (const CLI::Option* o : options) out += row(names_of(*o), o->get_description());
  }
  if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
  return out;
}

}  // namespace

std::shared_ptr<CLI::FormatterBase> help_formatter() { return std::make_shared<CLI::FormatterLambda>(make_help); }

}  // namespace xylem
