#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define BATCH 100
// As much as glibc reads at a time; musl's 2 KiB would be sixteen times the calls.
#define READ_AHEAD (32u << 10)
// Length, `ls -l` line with its length, attributes: what an entry takes beside its name.
#define ENTRY_MAX (4 + 4 + SFTP_LONG_NAME + 32)
// struct linux_dirent64: inode u64, offset s64, then these.
#define RECORD_LENGTH 16
#define RECORD_NAME 19

struct sftp_directory {
  size_t at, end;
  uint8_t bytes[READ_AHEAD];
};

void sftp_opendir(struct sftp_request *r) {
  char *path = sftp_get_text(r);
  if (r->bad) return;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    sftp_reply_result(r->id, fd);
  else
    sftp_handle_new(r->id, &(struct sftp_handle){.kind = SFTP_DIRECTORY, .fd = fd, .name = path});
}

static bool begin_reading(struct sftp_handle *handle) {
  if (handle->directory) return true;
  struct sftp_directory *d = malloc(sizeof *d);
  if (!d) return false;
  d->at = d->end = 0;
  handle->directory = d;
  return true;
}

// The next entry's name and its length, without taking it; NULL at the end, and when the directory cannot be read.
static const char *peek(struct sftp_handle *handle, size_t *length) {
  struct sftp_directory *d = handle->directory;
  if (d->at == d->end) {
    long n = syscall(SYS_getdents64, handle->fd, d->bytes, sizeof d->bytes);
    if (n <= 0) return NULL;
    d->at = 0;
    d->end = (size_t)n;
  }
  const char *name = (const char *)d->bytes + d->at + RECORD_NAME;
  *length = strlen(name);
  return name;
}

static void skip(struct sftp_directory *d) {
  uint16_t length;
  memcpy(&length, d->bytes + d->at + RECORD_LENGTH, sizeof length);
  d->at += length;
}

// One batch of entries. Those that are gone by now are left out.
static uint32_t put_entries(struct sftp_handle *handle) {
  static char path[PATH_MAX], long_name[SFTP_LONG_NAME];
  size_t length, prefix = strlen(handle->name);
  const char *name;
  uint32_t count = 0;
  memcpy(path, handle->name, prefix);
  if (strcmp(handle->name, "/") != 0) path[prefix++] = '/';
  while (count < BATCH && (name = peek(handle, &length))) {
    struct stat st;
    if (sftp_reply_left() < length + ENTRY_MAX) break;
    bool known = prefix + length < sizeof path;
    if (known) {
      memcpy(path + prefix, name, length + 1);
      known = lstat(path, &st) == 0;
    }
    if (known) {
      sftp_long_name(long_name, name, &st);
      sftp_put_bytes(name, length);
      sftp_put_text(long_name);
      sftp_put_attrs(&st);
      count++;
    }
    skip(handle->directory);
  }
  return count;
}

void sftp_readdir(struct sftp_request *r) {
  struct sftp_handle *handle = sftp_get_handle(r);
  if (r->bad) return;
  if (!handle || handle->kind != SFTP_DIRECTORY) {
    sftp_reply_status(r->id, SFTP_FAILURE);
    return;
  }
  if (!begin_reading(handle)) {
    sftp_reply_status(r->id, SFTP_FAILURE);
    return;
  }
  sftp_accounts_refresh();
  sftp_names_begin(r->id);
  uint32_t count = put_entries(handle);
  if (count) {
    sftp_names_end(count);
    return;
  }
  free(handle->directory);
  handle->directory = NULL;
  sftp_reply_status(r->id, SFTP_EOF);
}
