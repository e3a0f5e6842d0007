#pragma once

namespace xylem {

// The whole program. Returns its exit status: 0, 1 when the work failed, 2 when the command line is wrong. Errors are one
// line on stderr.
int cli_main(int argc, char** argv);

}  // namespace xylem
