// Requests on names.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "internal.h"

void sftp_remove(struct sftp_request *r) {
  const char *path = sftp_get_text(r);
  if (!r->bad) sftp_reply_result(r->id, unlink(path));
}

void sftp_mkdir(struct sftp_request *r) {
  struct sftp_attrs attrs;
  const char *path = sftp_get_text(r);
  sftp_get_attrs(r, &attrs);
  if (!r->bad) sftp_reply_result(r->id, mkdir(path, attrs.flags & SFTP_ATTR_MODE ? attrs.mode & 07777 : 0777));
}

void sftp_rmdir(struct sftp_request *r) {
  const char *path = sftp_get_text(r);
  if (!r->bad) sftp_reply_result(r->id, rmdir(path));
}

void sftp_posix_rename(struct sftp_request *r) {
  const char *from = sftp_get_text(r), *to = sftp_get_text(r);
  if (!r->bad) sftp_reply_result(r->id, rename(from, to));
}

void sftp_hardlink(struct sftp_request *r) {
  const char *from = sftp_get_text(r), *to = sftp_get_text(r);
  if (!r->bad) sftp_reply_result(r->id, link(from, to));
}

// OpenSSH's order: what the link holds, then its own path.
void sftp_symlink(struct sftp_request *r) {
  const char *target = sftp_get_text(r), *path = sftp_get_text(r);
  if (!r->bad) sftp_reply_result(r->id, symlink(target, path));
}

static enum sftp_status rename_when_free(const char *from, const char *to) {
  struct stat st;
  if (stat(to, &st) == 0) return SFTP_FAILURE;
  return rename(from, to) < 0 ? sftp_status_of(errno) : SFTP_OK;
}

// Version 3 never replaces: a link refuses atomically when the new name exists. Where no link can be made, the new name is looked for before.
static enum sftp_status rename_file(const char *from, const char *to) {
  if (link(from, to) < 0) {
    bool no_links = errno == EOPNOTSUPP || errno == ENOSYS || errno == EXDEV || errno == EPERM;
    return no_links ? rename_when_free(from, to) : sftp_status_of(errno);
  }
  if (unlink(from) == 0) return SFTP_OK;
  enum sftp_status status = sftp_status_of(errno);
  unlink(to);
  return status;
}

void sftp_rename(struct sftp_request *r) {
  struct stat st;
  const char *from = sftp_get_text(r), *to = sftp_get_text(r);
  if (r->bad) return;
  if (lstat(from, &st) < 0)
    sftp_reply_result(r->id, -1);
  else
    sftp_reply_status(r->id, S_ISREG(st.st_mode) ? rename_file(from, to) : rename_when_free(from, to));
}

void sftp_readlink(struct sftp_request *r) {
  char target[PATH_MAX];
  const char *path = sftp_get_text(r);
  if (r->bad) return;
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) {
    sftp_reply_result(r->id, -1);
    return;
  }
  target[length] = 0;
  sftp_reply_name(r->id, target);
}
