#include "cli/model_path.h"

#include <filesystem>

namespace xylem {
namespace fs = std::filesystem;

Result<std::string> model_or_demo(const std::string& folder) {
  std::error_code ec;
  if (!folder.empty()) {
    if (fs::is_directory(folder, ec)) return folder;
    return not_found("--model " + folder + ": no such folder; name one that holds config.json and the model's other files");
  }
  // Beside the build folder of the executable (build/xylem, prefix/bin/xylem), else in the tree it was compiled from.
  const fs::path exe = fs::read_symlink("/proc/self/exe", ec);
  const fs::path source = fs::path(__FILE__).parent_path().parent_path().parent_path();
  for (const fs::path& root : {exe.parent_path().parent_path(), source})
    if (fs::path demo = root / "models" / "demo"; fs::exists(demo / "config.json", ec)) return demo.lexically_normal().string();
  return not_found("the demo model (models/demo) is not beside this program; name a checkpoint folder with --model");
}

}  // namespace xylem
