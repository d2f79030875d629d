// Small things every part uses: logging, whole reads and writes, files, time.
#ifndef BANGER_UTIL_H
#define BANGER_UTIL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_VERSION "0.1.0"
#define AGENT_PROTOCOL 2

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

// Where lines of `say` go: standard error until this opens /dev/kmsg, which the console and the journal show.
void log_to_kernel(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

// Trouble of the boot that the host must hear of; kept in a file below /run, because the service of systemd mode is another process.
__attribute__((format(printf, 1, 2))) void problem(const char *format, ...);
// Writes what `problem` gathered; the directory must be there.
void problems_save(const char *path);

int64_t now_ms(void);
void sleep_ms(int ms);

// Whole file as text with a trailing NUL; NULL with errno. `limit` bounds the size, `length` may be NULL.
char *read_file(const char *path, size_t limit, size_t *length);
// Creates or truncates. false with errno.
bool write_file(const char *path, unsigned mode, const void *data, size_t length);
bool write_all(int fd, const void *data, size_t length);
// First line of a small file without its newline; false when there is none.
bool read_line(const char *path, char *line, size_t size);
// Creates every missing directory of the path itself, mode 0755.
bool make_dirs(const char *path);
// Creates the directories above the path.
bool make_parent_dirs(const char *path);
bool set_nonblocking(int fd);
// Closes and sets to -1.
void close_fd(int *fd);
// Memory that must be there: these few small blocks are all the agent asks for outside streams.
void *must_alloc(size_t size);
char *must_copy(const char *text);
#endif
