// `agent tree`: what is at paths of the guest, and removing it; for a host that knows the names and trusts nothing between them.
#ifndef BANGER_TREE_H
#define BANGER_TREE_H
#include <stdbool.h>
#include <stddef.h>

enum { TREE_DONE = 0, TREE_FAILED = 1, TREE_USAGE = 2, TREE_TAKEN = 4 };

int tree_main(int argc, char **argv);

// Below: the parts of it.

// A path and the five fields before it, with the spaces.
#define TREE_RECORD (4096 + 64)

// The next record of stdin, each ended by a NUL; NULL at the end. One that is too long, or not ended, ends the program.
char *tree_next(void);
// A line on stderr; after 20 they are only counted. tree_result says the count, and answers the exit code so far.
__attribute__((format(printf, 1, 2))) void tree_problem(const char *format, ...);
int tree_result(void);
__attribute__((format(printf, 1, 2))) _Noreturn void tree_refuse(const char *format, ...);
// The directory ROOT; -1: there is none.
int tree_open_root(const char *root);
int tree_check(const char *root);
#endif
