// What is said on stderr, how it ends, and progress.
#ifndef BANGER_COPY_REPORT_H
#define BANGER_COPY_REPORT_H
#include <stdint.h>

enum { COPY_DONE = 0, COPY_PARTIAL = 1, COPY_USAGE = 2, COPY_REFUSED = 3, COPY_STALLED = 4 };

// One line for something that was left out; after 20 lines they are only counted.
void copy_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
void copy_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The exit code so far; tells the count of what copy_problem did not print.
int copy_result(void);
// Tells why, after `undo` (if set) has put things back and said with a sentence what stays, and ends the program with 3.
_Noreturn void copy_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// As copy_fail, with 4: the other end moved only so many bytes in all the time that it had.
_Noreturn void copy_stalled(uint64_t moved);
void copy_on_fail(const char *(*undo)(void));

void copy_progress_open(int fd);
void copy_progress_entry(const char *name);
// To be called with every bigger piece of data.
void copy_progress(uint64_t bytes);
void copy_progress_end(uint64_t bytes);
// A line that a slow reader gets as well.
void copy_progress_say(const char *line);
#endif
