#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "internal.h"

void sftp_get_attrs(struct sftp_request *r, struct sftp_attrs *a) {
  *a = (struct sftp_attrs){.flags = sftp_get_u32(r)};
  if (a->flags & SFTP_ATTR_SIZE) a->size = sftp_get_u64(r);
  if (a->flags & SFTP_ATTR_OWNER) {
    a->uid = sftp_get_u32(r);
    a->gid = sftp_get_u32(r);
  }
  if (a->flags & SFTP_ATTR_MODE) a->mode = sftp_get_u32(r);
  if (a->flags & SFTP_ATTR_TIMES) {
    a->atime = sftp_get_u32(r);
    a->mtime = sftp_get_u32(r);
  }
  if (!(a->flags & SFTP_ATTR_EXTENDED)) return;
  // None is known. Each takes bytes of the packet, which bounds the loop.
  uint32_t length;
  for (uint32_t n = sftp_get_u32(r); n > 0 && !r->bad; n--) {
    sftp_get_text(r);
    sftp_get_bytes(r, &length);
  }
}

void sftp_put_attrs(const struct stat *st) {
  sftp_put_u32(SFTP_ATTR_SIZE | SFTP_ATTR_OWNER | SFTP_ATTR_MODE | SFTP_ATTR_TIMES);
  sftp_put_u64((uint64_t)st->st_size);
  sftp_put_u32(st->st_uid);
  sftp_put_u32(st->st_gid);
  sftp_put_u32(st->st_mode);
  sftp_put_u32((uint32_t)st->st_atime);
  sftp_put_u32((uint32_t)st->st_mtime);
}

static void reply_attrs(uint32_t id, int result, const struct stat *st) {
  if (result < 0) {
    sftp_reply_result(id, result);
    return;
  }
  sftp_reply_begin(SFTP_ATTRS, id);
  sftp_put_attrs(st);
  sftp_reply_end();
}

void sftp_stat(struct sftp_request *r) {
  struct stat st;
  const char *path = sftp_get_text(r);
  if (!r->bad) reply_attrs(r->id, stat(path, &st), &st);
}

void sftp_lstat(struct sftp_request *r) {
  struct stat st;
  const char *path = sftp_get_text(r);
  if (!r->bad) reply_attrs(r->id, lstat(path, &st), &st);
}

void sftp_fstat(struct sftp_request *r) {
  struct stat st;
  const struct sftp_handle *file = sftp_get_file(r);
  if (r->bad) return;
  if (file)
    reply_attrs(r->id, fstat(file->fd, &st), &st);
  else
    sftp_reply_status(r->id, SFTP_FAILURE);
}

// An open file (fd >= 0), or a path, with AT_SYMLINK_NOFOLLOW or 0.
struct target {
  int fd;
  const char *path;
  int flag;
};

static int set_size(const struct target *t, const struct sftp_attrs *a) {
  return t->fd >= 0 ? ftruncate(t->fd, (off_t)a->size) : truncate(t->path, (off_t)a->size);
}

static int set_mode(const struct target *t, const struct sftp_attrs *a) {
  mode_t mode = a->mode & 07777;
  return t->fd >= 0 ? fchmod(t->fd, mode) : fchmodat(AT_FDCWD, t->path, mode, t->flag);
}

static int set_times(const struct target *t, const struct sftp_attrs *a) {
  const struct timespec times[2] = {{.tv_sec = a->atime}, {.tv_sec = a->mtime}};
  return t->fd >= 0 ? futimens(t->fd, times) : utimensat(AT_FDCWD, t->path, times, t->flag);
}

static int set_owner(const struct target *t, const struct sftp_attrs *a) {
  return t->fd >= 0 ? fchown(t->fd, a->uid, a->gid) : fchownat(AT_FDCWD, t->path, a->uid, a->gid, t->flag);
}

// Everything is tried, in OpenSSH's order; the last failure is the answer.
static void set_attrs(uint32_t id, const struct target *target, const struct sftp_attrs *attrs) {
  static const struct {
    uint32_t flag;
    int (*set)(const struct target *, const struct sftp_attrs *);
  } steps[] = {{SFTP_ATTR_SIZE, set_size}, {SFTP_ATTR_MODE, set_mode}, {SFTP_ATTR_TIMES, set_times}, {SFTP_ATTR_OWNER, set_owner}};
  enum sftp_status status = SFTP_OK;
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
    if (attrs->flags & steps[i].flag && steps[i].set(target, attrs) < 0) status = sftp_status_of(errno);
  sftp_reply_status(id, status);
}

void sftp_setstat(struct sftp_request *r) {
  struct sftp_attrs attrs;
  const char *path = sftp_get_text(r);
  sftp_get_attrs(r, &attrs);
  if (!r->bad) set_attrs(r->id, &(struct target){.fd = -1, .path = path}, &attrs);
}

void sftp_fsetstat(struct sftp_request *r) {
  struct sftp_attrs attrs;
  const struct sftp_handle *file = sftp_get_file(r);
  sftp_get_attrs(r, &attrs);
  if (r->bad) return;
  if (file)
    set_attrs(r->id, &(struct target){.fd = file->fd}, &attrs);
  else
    sftp_reply_status(r->id, SFTP_FAILURE);
}

void sftp_lsetstat(struct sftp_request *r) {
  struct sftp_attrs attrs;
  const char *path = sftp_get_text(r);
  sftp_get_attrs(r, &attrs);
  if (r->bad) return;
  // A link has no size to set.
  if (attrs.flags & SFTP_ATTR_SIZE)
    sftp_reply_status(r->id, SFTP_BAD_MESSAGE);
  else
    set_attrs(r->id, &(struct target){.fd = -1, .path = path, .flag = AT_SYMLINK_NOFOLLOW}, &attrs);
}
