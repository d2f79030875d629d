// The kept output of a command: numbered pieces, of which the newest few stay. A reader that lags holds its piece open and finds the
// next by number, so nothing is ever written over.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keep.h"
#include "util.h"

// Output is split to fill a piece, but not into crumbs.
#define LEAST_SPLIT 64

static void piece_name(char name[24], uint32_t number) { snprintf(name, 24, "out.%u", (unsigned)number); }

static bool open_piece(struct keep_log *log) {
  char name[24];
  piece_name(name, log->current);
  log->fd = openat(log->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  log->used = 0;
  return log->fd >= 0;
}

// Counts the whole file: its records' headers are too few to matter to whoever asks.
static void drop_oldest(struct keep_log *log) {
  char name[24];
  struct stat st;
  piece_name(name, log->oldest++);
  if (fstatat(log->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) log->dropped += (uint64_t)st.st_size;
  unlinkat(log->dir, name, 0);
}

// The directory is in memory, and others need room there too.
static bool is_scarce(const struct keep_log *log) {
  struct statvfs fs;
  return fstatvfs(log->dir, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail < fs.f_blocks / 4;
}

static bool next_piece(struct keep_log *log) {
  close_fd(&log->fd);
  log->current++;
  while (log->current - log->oldest >= KEEP_PIECES) drop_oldest(log);
  while (log->oldest < log->current && is_scarce(log)) drop_oldest(log);
  return open_piece(log);
}

bool keep_log_open(struct keep_log *log, int dir, size_t limit) {
  *log = (struct keep_log){.dir = dir, .fd = -1, .piece = limit / KEEP_PIECES};
  return open_piece(log);
}

// All or nothing: half a record would be the end of the piece to a reader.
static bool put_record(struct keep_log *log, uint8_t channel, const uint8_t *data, size_t length) {
  uint8_t head[KEEP_RECORD] = {channel, 0, 0, 0, (uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16), 0};
  struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
  size_t whole = sizeof head + length;
  if (log->fd < 0 && !open_piece(log)) return false;
  ssize_t n = writev(log->fd, parts, 2);
  if (n == (ssize_t)whole) {
    log->used += whole;
    return true;
  }
  if (ftruncate(log->fd, (off_t)log->used) < 0 || lseek(log->fd, (off_t)log->used, SEEK_SET) < 0) close_fd(&log->fd);
  return false;
}

// Gives up the oldest piece, and the only one for a new one: rather the newest output than the oldest.
static bool make_room(struct keep_log *log) {
  if (log->oldest == log->current) {
    if (log->used == 0) return false;
    close_fd(&log->fd);
    log->current++;
    if (!open_piece(log)) return false;
  }
  drop_oldest(log);
  return true;
}

static void put_chunk(struct keep_log *log, uint8_t channel, const uint8_t *data, size_t length) {
  log->bytes += length;
  while (!put_record(log, channel, data, length))
    if (!make_room(log)) {
      log->dropped += length;
      return;
    }
}

// What still fits the piece; a new one is begun when that is next to nothing.
static size_t room_for(struct keep_log *log, size_t length) {
  size_t taken = log->used + KEEP_RECORD, least = length < LEAST_SPLIT ? length : LEAST_SPLIT;
  if (log->used > 0 && taken + least > log->piece) {
    next_piece(log);
    taken = KEEP_RECORD;
  }
  size_t room = log->piece > taken ? log->piece - taken : 1;
  if (room > KEEP_CHUNK) room = KEEP_CHUNK;
  return length < room ? length : room;
}

void keep_log_put(struct keep_log *log, uint8_t channel, const uint8_t *data, size_t length) {
  while (length > 0) {
    size_t n = room_for(log, length);
    put_chunk(log, channel, data, n);
    data += n;
    length -= n;
  }
}
