// Supervisor of host processes: shared declarations of the modes.
#ifndef BANGER_SHIM_H
#define BANGER_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { EXIT_USAGE = 64, EXIT_SETUP = 70, EXIT_EXEC = 127 };

// util.c
/// Prints "error <text>" as the readiness line and on stderr, and ends the process.
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// Decimal number in [low, high]; fails with the option's name otherwise.
unsigned long parse_number(const char *option, const char *text, unsigned long low, unsigned long high);
/// Writes all bytes; false on an error, errno kept.
bool write_all(int fd, const void *data, size_t size);
/// Makes `path` hold `text` by writing a neighbour file and renaming it. False on an error, errno kept.
bool write_file(const char *path, const char *text);
/// RFC 3339 time in UTC with seconds. `size` of at least 32.
void format_now(char *out, size_t size);
/// Prints the readiness line on stdout, then lets go of the pipe.
void announce(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// Own session, default signal dispositions, HUP and PIPE ignored, stdin from /dev/null, no inherited descriptors above 2.
void detach(void);
/// Blocks CHLD, TERM and INT and returns a signalfd for them.
int open_signals(void);
/// Undoes `open_signals` in a child before exec.
void reset_signals(void);

// ns.c
/// Unshares user (unless root) and network namespace; our uid and gid map to themselves. Returns what failed, or NULL.
const char *make_namespaces(void);
/// Joins the user and network namespace of a process. Returns what failed, or NULL; errno kept.
const char *join_namespaces(pid_t pid);
/// Takes the loopback interface of the current network namespace down. Returns 0 or -1 with errno.
int take_loopback_down(void);

// log.c
/// A log of two files, `path` and `path`.1, together at most `max` bytes.
struct bounded_log { const char *path; size_t half; size_t size; int fd; };
void log_open(struct bounded_log *log, const char *path, size_t max);
/// Appends; what cannot be written (full disk) is dropped, the writer is never blocked.
void log_write(struct bounded_log *log, const char *data, size_t size);

int run_vmm(int argc, char **argv);
int run_netns(int argc, char **argv);

#endif
