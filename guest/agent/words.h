// Command lines as words and words as command lines, for guests with and without a shell.
#ifndef BANGER_WORDS_H
#define BANGER_WORDS_H
#include <stdbool.h>
#include <stddef.h>

struct words {
  // NULL-terminated; pointers into `text`.
  char **list;
  size_t count;
  char *text;
};

// Splits a line as a shell would, as far as quotes and backslashes go. false: it needs a shell; `*problem` says for what, or is
// NULL when memory ran out.
bool words_split(struct words *words, const char *line, const char **problem);
void words_free(struct words *words);
// The line that makes a POSIX shell become the program that the words name; NULL when memory ran out.
char *words_quote(char *const *words);
#endif
