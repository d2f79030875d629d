// Supervisor of host processes: shared declarations of the modes.
#ifndef BANGER_SHIM_H
#define BANGER_SHIM_H

#include <poll.h>
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
/// Logs of the last boots of a machine in a directory of their own: `<n>.log` of the n-th boot ever, with the part before it in `<n>.log.1`.
struct log_limits {
  /// Bytes of one boot, both files together.
  size_t max;
  /// How many boots are kept.
  unsigned long keep;
};
struct boot_log { const char *dir; size_t half, size; unsigned long keep, boot; bool has_older; int fd; };
/// Begins the log of the boot after the newest in `dir`, which is made where it is missing.
void log_open(struct boot_log *log, const char *dir, struct log_limits limits);
/// The machine was reset: what comes now is the next boot's. Does nothing while the present one has said nothing.
void log_next_boot(struct boot_log *log);
/// Appends; what cannot be written (full disk) is dropped, the writer is never blocked.
void log_write(struct boot_log *log, const char *data, size_t size);

// events.c
/// `reason`: why QEMU says it shuts down ("guest-shutdown"), empty until it does.
struct events { int fd; size_t length; char line[512], reason[32]; };
/// Makes a control channel; `*theirs` is QEMU's end.
void events_open(struct events *events, int *theirs);
/// Reads what there is; whether a reset of the machine is in it. Closes the channel (fd -1) at its end.
bool events_take_reset(struct events *events);
/// Tells QEMU to end.
void events_quit(struct events *events);

// last-words.c
/// Whether a boot's output had the line of a kernel panic, and how much came after it. All zero at the beginning of a boot.
struct panic { bool seen; size_t matched, since; };
void panic_follow(struct panic *panic, const char *data, size_t size);
/// Whether the output ends with a panic and what a kernel says after one.
bool panic_at_end(const struct panic *panic);
/// The last bytes of what the VMM itself said.
struct words { char text[512]; size_t length; };
void words_add(struct words *words, const char *data, size_t size);
/// As the inside of a JSON string, in ASCII; `size` of at least twice the bytes kept takes all of them. Returns its length.
size_t words_json(const struct words *words, char *out, size_t size);

// console.c
enum { CONSOLE_POLLS = 3, CONSOLE_RECENT = 4096, CONSOLE_OUT = 64 * 1024, CONSOLE_IN = 4096 };
struct ring { char *bytes; size_t size, start, length; };
struct console {
  /// Without a client `client` is -1; `input` is -1 once the VMM has closed it.
  int listener, client, input;
  bool client_ended;
  /// Output that the client was too slow for, not told to it yet.
  size_t lost;
  /// For who comes next; for the client; for the VMM.
  struct ring recent, out, in;
  char recent_bytes[CONSOLE_RECENT], out_bytes[CONSOLE_OUT], in_bytes[CONSOLE_IN];
};
/// Serves a listening socket; `*theirs` is what the VMM reads as its standard input.
void console_open(struct console *console, int listener, int *theirs);
/// Output of the VMM, for the client and for the next one.
void console_output(struct console *console, const char *data, size_t size);
void console_poll(const struct console *console, struct pollfd fds[CONSOLE_POLLS]);
void console_ready(struct console *console, const struct pollfd fds[CONSOLE_POLLS]);
/// The VMM has ended: gives the client what its socket still takes, and lets it go.
void console_end(struct console *console);

int run_vmm(int argc, char **argv);
int run_netns(int argc, char **argv);

#endif
