#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "internal.h"

enum { OPEN_READ = 1, OPEN_WRITE = 2, OPEN_APPEND = 4, OPEN_CREATE = 8, OPEN_TRUNCATE = 16, OPEN_EXCLUSIVE = 32 };

static int flags_of(uint32_t wanted) {
  int flags = O_RDONLY;
  if (wanted & OPEN_WRITE) flags = wanted & OPEN_READ ? O_RDWR : O_WRONLY;
  if (wanted & OPEN_APPEND) flags |= O_APPEND;
  if (wanted & OPEN_CREATE) flags |= O_CREAT;
  if (wanted & OPEN_TRUNCATE) flags |= O_TRUNC;
  if (wanted & OPEN_EXCLUSIVE) flags |= O_EXCL;
  return flags;
}

void sftp_open(struct sftp_request *r) {
  struct sftp_attrs attrs;
  char *path = sftp_get_text(r);
  int flags = flags_of(sftp_get_u32(r));
  sftp_get_attrs(r, &attrs);
  if (r->bad) return;
  // The umask is the session's.
  int fd = open(path, flags | O_CLOEXEC, (attrs.flags & SFTP_ATTR_MODE ? attrs.mode : 0666) & 07777);
  if (fd < 0)
    sftp_reply_result(r->id, fd);
  else
    sftp_handle_new(r->id, &(struct sftp_handle){.kind = SFTP_FILE, .fd = fd, .flags = flags, .name = path});
}

// OpenSSH seeks before it reads or writes. Its answer to an offset the file cannot have is that of the seek, where the other calls know nothing to
// do (end of file, no bytes) or fail for another reason; so the seek is tried when nothing came of them.
static bool offset_refused(int fd, uint64_t offset) { return lseek(fd, (off_t)offset, SEEK_SET) < 0; }

void sftp_read(struct sftp_request *r) {
  const struct sftp_handle *file = sftp_get_file(r);
  uint64_t offset = sftp_get_u64(r);
  uint32_t length = sftp_get_u32(r);
  if (r->bad) return;
  if (!file) {
    sftp_reply_status(r->id, SFTP_FAILURE);
    return;
  }
  if (length > SFTP_DATA_MAX) length = SFTP_DATA_MAX;
  uint8_t *data = sftp_data_begin(r->id);
  ssize_t n = length ? pread(file->fd, data, length, (off_t)offset) : 0;
  int error = errno;
  if (n > 0)
    sftp_data_end((size_t)n);
  else if (offset_refused(file->fd, offset))
    sftp_reply_result(r->id, -1);
  else if (n < 0)
    sftp_reply_status(r->id, sftp_status_of(error));
  else if (length)
    sftp_reply_status(r->id, SFTP_EOF);
  else
    sftp_data_end(0);
}

void sftp_write(struct sftp_request *r) {
  uint32_t length;
  const struct sftp_handle *file = sftp_get_file(r);
  uint64_t offset = sftp_get_u64(r);
  const uint8_t *data = sftp_get_bytes(r, &length);
  if (r->bad) return;
  if (!file) {
    sftp_reply_status(r->id, SFTP_FAILURE);
    return;
  }
  bool appends = file->flags & O_APPEND;
  ssize_t n = appends ? write(file->fd, data, length) : pwrite(file->fd, data, length, (off_t)offset);
  int error = errno;
  if (n <= 0 && !appends && offset_refused(file->fd, offset))
    sftp_reply_result(r->id, -1);
  else if (n < 0)
    sftp_reply_status(r->id, sftp_status_of(error));
  else
    sftp_reply_status(r->id, (size_t)n == length ? SFTP_OK : SFTP_FAILURE);
}
