// What the files of the SFTP server share. It serves one client in one thread, so the connection and its handles are the process's own.
#ifndef BANGER_SFTP_INTERNAL_H
#define BANGER_SFTP_INTERNAL_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SFTP_VERSION 3
// Longest packet (without its length) that is taken or sent, and most data of one READ: OpenSSH's numbers.
#define SFTP_PACKET_MAX (256u << 10)
#define SFTP_DATA_MAX (SFTP_PACKET_MAX - 1024)
#define SFTP_HANDLES_MAX 4096
#define SFTP_LONG_NAME 1024

enum sftp_type {
  SFTP_INIT = 1,
  SFTP_VERSION_REPLY = 2,
  SFTP_OPEN = 3,
  SFTP_CLOSE = 4,
  SFTP_READ = 5,
  SFTP_WRITE = 6,
  SFTP_LSTAT = 7,
  SFTP_FSTAT = 8,
  SFTP_SETSTAT = 9,
  SFTP_FSETSTAT = 10,
  SFTP_OPENDIR = 11,
  SFTP_READDIR = 12,
  SFTP_REMOVE = 13,
  SFTP_MKDIR = 14,
  SFTP_RMDIR = 15,
  SFTP_REALPATH = 16,
  SFTP_STAT = 17,
  SFTP_RENAME = 18,
  SFTP_READLINK = 19,
  SFTP_SYMLINK = 20,
  SFTP_STATUS = 101,
  SFTP_HANDLE = 102,
  SFTP_DATA = 103,
  SFTP_NAME = 104,
  SFTP_ATTRS = 105,
  SFTP_EXTENDED = 200,
  SFTP_EXTENDED_REPLY = 201,
};

enum sftp_status {
  SFTP_OK = 0,
  SFTP_EOF = 1,
  SFTP_NO_SUCH_FILE = 2,
  SFTP_PERMISSION_DENIED = 3,
  SFTP_FAILURE = 4,
  SFTP_BAD_MESSAGE = 5,
  SFTP_OP_UNSUPPORTED = 8,
};

enum sftp_attr_flags {
  SFTP_ATTR_SIZE = 1,
  SFTP_ATTR_OWNER = 2,
  SFTP_ATTR_MODE = 4,
  SFTP_ATTR_TIMES = 8,
};
#define SFTP_ATTR_EXTENDED 0x80000000u

// input.c: packets from stdin.
enum sftp_input { SFTP_INPUT_PACKET, SFTP_INPUT_END, SFTP_INPUT_BAD, SFTP_INPUT_ERROR };
// A packet of which fields are taken in turn. `bad`: one was missing or malformed; it stays set, and nothing may be done on the client's behalf.
struct sftp_request {
  uint32_t id;
  uint8_t *at;
  size_t left;
  bool bad;
};
bool sftp_input_open(void);
// The next packet, valid until the next call. Everything that is to be sent goes out before it waits.
enum sftp_input sftp_next(struct sftp_request *request);
uint8_t sftp_get_u8(struct sftp_request *request);
uint32_t sftp_get_u32(struct sftp_request *request);
uint64_t sftp_get_u64(struct sftp_request *request);
uint8_t *sftp_get_bytes(struct sftp_request *request, uint32_t *length);
// Ended by a NUL, which is made in place. A NUL inside is malformed, one at the end is not: as OpenSSH has it.
char *sftp_get_text(struct sftp_request *request);

// reply.c: packets to stdout, kept until there is nothing to read. A reply is begun, filled and ended; one that grows too long becomes FAILURE.
bool sftp_output_open(void);
bool sftp_flush(void);
// Makes room for the longest reply.
bool sftp_reply_room(void);
void sftp_reply_begin(enum sftp_type type, uint32_t id);
void sftp_put_u32(uint32_t value);
void sftp_put_u64(uint64_t value);
void sftp_put_bytes(const void *bytes, size_t length);
void sftp_put_text(const char *text);
// How many bytes the reply that is being filled may still take.
size_t sftp_reply_left(void);
void sftp_reply_end(void);
// Where the bytes of a DATA reply go, at most SFTP_DATA_MAX; the reply is made by sftp_data_end, or another one takes its place.
uint8_t *sftp_data_begin(uint32_t id);
void sftp_data_end(size_t length);
void sftp_reply_version(uint32_t client_version);
void sftp_reply_status(uint32_t id, enum sftp_status status);
void sftp_reply_status_text(uint32_t id, enum sftp_status status, const char *text);
// The status of a system call: its result and errno.
void sftp_reply_result(uint32_t id, int result);
// One name, without attributes.
void sftp_reply_name(uint32_t id, const char *name);
enum sftp_status sftp_status_of(int error);
// A list whose length is known at its end: NAME.
void sftp_names_begin(uint32_t id);
void sftp_names_end(uint32_t count);

// attrs.c
struct sftp_attrs {
  uint32_t flags, uid, gid, mode, atime, mtime;
  uint64_t size;
};
void sftp_get_attrs(struct sftp_request *request, struct sftp_attrs *attrs);
void sftp_put_attrs(const struct stat *st);
void sftp_stat(struct sftp_request *request);
void sftp_lstat(struct sftp_request *request);
void sftp_fstat(struct sftp_request *request);
void sftp_setstat(struct sftp_request *request);
void sftp_fsetstat(struct sftp_request *request);
void sftp_lsetstat(struct sftp_request *request);

// handles.c
struct sftp_directory;
struct sftp_handle {
  enum { SFTP_UNUSED, SFTP_FILE, SFTP_DIRECTORY } kind;
  int fd;
  int flags;
  uint32_t next_unused;
  // As the client wrote it.
  char *name;
  // What was read ahead; NULL at first.
  struct sftp_directory *directory;
};
uint32_t sftp_handles_limit(void);
// Takes the descriptor; answers with the handle, or with FAILURE and closes it.
void sftp_handle_new(uint32_t id, const struct sftp_handle *values);
// What the request's next field names, NULL when it names nothing that is open. Valid until a handle is made.
struct sftp_handle *sftp_get_handle(struct sftp_request *request);
struct sftp_handle *sftp_get_file(struct sftp_request *request);
void sftp_close(struct sftp_request *request);

// files.c, directories.c, tree.c, copy-data.c
void sftp_open(struct sftp_request *request);
void sftp_read(struct sftp_request *request);
void sftp_write(struct sftp_request *request);
void sftp_opendir(struct sftp_request *request);
void sftp_readdir(struct sftp_request *request);
void sftp_remove(struct sftp_request *request);
void sftp_mkdir(struct sftp_request *request);
void sftp_rmdir(struct sftp_request *request);
void sftp_rename(struct sftp_request *request);
void sftp_posix_rename(struct sftp_request *request);
void sftp_readlink(struct sftp_request *request);
void sftp_symlink(struct sftp_request *request);
void sftp_hardlink(struct sftp_request *request);
void sftp_copy_data(struct sftp_request *request);

// paths.c
// Absolute, without links; the last component need not exist. 0, or -1 and errno.
int sftp_resolve(const char *path, char resolved[PATH_MAX]);
void sftp_realpath(struct sftp_request *request);
void sftp_expand_path(struct sftp_request *request);

// accounts.c: /etc/passwd and /etc/group. Names live until the next refresh.
void sftp_accounts_refresh(void);
const char *sftp_user_name(uint32_t uid);
const char *sftp_group_name(uint32_t gid);
const char *sftp_home_of(const char *user);
void sftp_home_directory(struct sftp_request *request);
void sftp_users_groups(struct sftp_request *request);

// long-name.c: a line as `ls -l` writes it.
void sftp_long_name(char out[SFTP_LONG_NAME], const char *name, const struct stat *st);

// extended.c
void sftp_extended(struct sftp_request *request);
void sftp_put_extensions(void);
#endif
