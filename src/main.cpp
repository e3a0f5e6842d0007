#include "cli/cli.h"

int main(int argc, char** argv) { return xylem::cli_main(argc, argv); }
