// A handle is the index of its slot, and the slot freed last is taken first: the numbers OpenSSH's server gives.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#define NONE UINT32_MAX

static struct sftp_handle *handles;
static uint32_t count, capacity, first_unused = NONE;

uint32_t sftp_handles_limit(void) {
  struct rlimit limit;
  // OpenSSH keeps five for itself.
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= 5) return 0;
  return limit.rlim_cur - 5 < SFTP_HANDLES_MAX ? (uint32_t)(limit.rlim_cur - 5) : SFTP_HANDLES_MAX;
}

static uint32_t take_slot(void) {
  if (first_unused != NONE) {
    uint32_t index = first_unused;
    first_unused = handles[index].next_unused;
    return index;
  }
  if (count == SFTP_HANDLES_MAX) return NONE;
  if (count == capacity) {
    uint32_t larger = capacity ? 2 * capacity : 16;
    struct sftp_handle *moved = realloc(handles, larger * sizeof *moved);
    if (!moved) return NONE;
    handles = moved;
    capacity = larger;
  }
  return count++;
}

static void free_slot(uint32_t index) {
  handles[index] = (struct sftp_handle){.kind = SFTP_UNUSED, .next_unused = first_unused};
  first_unused = index;
}

void sftp_handle_new(uint32_t id, const struct sftp_handle *values) {
  char *name = strdup(values->name);
  uint32_t index = name ? take_slot() : NONE;
  if (index == NONE) {
    free(name);
    close(values->fd);
    sftp_reply_status(id, SFTP_FAILURE);
    return;
  }
  handles[index] = *values;
  handles[index].name = name;
  sftp_reply_begin(SFTP_HANDLE, id);
  sftp_put_u32(4);
  sftp_put_u32(index);
  sftp_reply_end();
}

struct sftp_handle *sftp_get_handle(struct sftp_request *r) {
  uint32_t length;
  const uint8_t *bytes = sftp_get_bytes(r, &length);
  if (length != 4) return NULL;
  uint32_t index = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
  return index < count && handles[index].kind != SFTP_UNUSED ? &handles[index] : NULL;
}

struct sftp_handle *sftp_get_file(struct sftp_request *r) {
  struct sftp_handle *handle = sftp_get_handle(r);
  return handle && handle->kind == SFTP_FILE ? handle : NULL;
}

void sftp_close(struct sftp_request *r) {
  struct sftp_handle *handle = sftp_get_handle(r);
  if (r->bad) return;
  if (!handle) {
    sftp_reply_status(r->id, SFTP_NO_SUCH_FILE);
    return;
  }
  int result = close(handle->fd), error = errno;
  free(handle->name);
  free(handle->directory);
  free_slot((uint32_t)(handle - handles));
  errno = error;
  sftp_reply_result(r->id, result);
}
