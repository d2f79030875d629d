// Contents of regular files on the way out.
#define _GNU_SOURCE
#include "report.h"
#include "send.h"
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A file in more pieces is sent with its last holes filled.
#define PIECES (256 << 10)

static struct tar_extent *extents;
static size_t extent_room;

static void add_extent(struct tar_entry *entry, uint64_t offset, uint64_t length) {
  if (entry->extent_count == extent_room) {
    extent_room = extent_room ? extent_room * 2 : 64;
    extents = realloc(extents, extent_room * sizeof *extents);
    if (!extents) copy_fail("out of memory");
  }
  extents[entry->extent_count++] = (struct tar_extent){offset, length};
  entry->stored += length;
}

// Where the file has data. The last extent ends where the file ends, as readers learn its length from that.
static void find_extents(int fd, struct tar_entry *entry) {
  off_t at = 0, size = (off_t)entry->size;
  entry->stored = 0;
  entry->extent_count = 0;
  while (at < size) {
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    // No such thing on this file system: all of it is data.
    if (data < 0) data = at;
    if (data >= size) break;
    off_t hole = entry->extent_count + 1 == PIECES ? size : lseek(fd, data, SEEK_HOLE);
    at = hole <= data || hole > size ? size : hole;
    add_extent(entry, (uint64_t)data, (uint64_t)(at - data));
  }
  bool whole = entry->extent_count == 1 && entry->stored == entry->size;
  entry->sparse = !whole;
  if (entry->sparse && (entry->extent_count == 0 || extents[entry->extent_count - 1].offset + extents[entry->extent_count - 1].length < entry->size))
    add_extent(entry, entry->size, 0);
  entry->extents = extents;
}

// Reads into the output's buffer: less than `want` at the end of the file, -1 with errno.
static int64_t read_piece(int fd, uint64_t offset, size_t want) {
  uint8_t *room = copy_out_room(want);
  size_t got = 0;
  while (got < want) {
    ssize_t n = pread(fd, room + got, want - got, (off_t)(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    got += (size_t)n;
  }
  return (int64_t)got;
}

static int64_t move_piece(int fd, uint64_t offset, uint64_t want) {
  static bool no_splice;
  if (want >= COPY_SPLICE_FROM && !no_splice) {
    int64_t n = copy_out_splice(fd, offset, want);
    if (n >= 0 || errno != EINVAL) return n;
    no_splice = true;
  }
  int64_t n = read_piece(fd, offset, want < COPY_OUT_ROOM ? (size_t)want : COPY_OUT_ROOM);
  if (n > 0) copy_out_used((size_t)n);
  return n;
}

// False: told, and filled up.
static bool send_range(int fd, uint64_t offset, uint64_t length, const char *shown) {
  while (length > 0) {
    int64_t n = move_piece(fd, offset, length);
    if (n <= 0) {
      if (n < 0) copy_problem("cannot read all of %s: %s; the rest is zeros", shown, strerror(errno));
      else copy_problem("%s shrank while it was read; the rest is zeros", shown);
      copy_out_zeros(length);
      return false;
    }
    offset += (uint64_t)n;
    length -= (uint64_t)n;
  }
  return true;
}

static void tell_growth(const char *shown) { copy_problem("%s grew while it was read; what was added is not sent", shown); }

// One call reads a small file and sees whether it grew.
static void send_small(int fd, const struct tar_entry *entry, const char *shown) {
  size_t size = (size_t)entry->size, got = 0;
  uint8_t *room = copy_out_room(size + 1 + COPY_BLOCK);
  ssize_t n;
  do {
    n = pread(fd, room + got, size + 1 - got, (off_t)got);
    if (n > 0) got += (size_t)n;
  } while ((n < 0 && errno == EINTR) || (n > 0 && got < size));
  if (n < 0) copy_problem("cannot read all of %s: %s; the rest is zeros", shown, strerror(errno));
  else if (got < size) copy_problem("%s shrank while it was read; the rest is zeros", shown);
  else if (got > size) tell_growth(shown);
  if (got > size) got = size;
  size_t padded = size + tar_padding(size);
  memset(room + got, 0, padded - got);
  copy_out_used(padded);
}

static void send_big(int fd, const struct tar_entry *entry, const char *shown) {
  struct tar_extent all = {0, entry->size};
  const struct tar_extent *pieces = entry->sparse ? entry->extents : &all;
  size_t count = entry->sparse ? entry->extent_count : 1;
  bool good = true;
  for (size_t i = 0; i < count; i++) {
    if (good) good = send_range(fd, pieces[i].offset, pieces[i].length, shown);
    else copy_out_zeros(pieces[i].length);
  }
  copy_out_zeros(tar_padding(entry->stored));
  char more;
  if (good && pread(fd, &more, 1, (off_t)entry->size) == 1) tell_growth(shown);
}

void copy_send_file(int fd, const struct stat *file, struct tar_entry *entry, const char *shown) {
  entry->size = entry->stored = (uint64_t)file->st_size;
  if (entry->size > (uint64_t)file->st_blocks * 512) find_extents(fd, entry);
  tar_write(entry);
  if (entry->size == 0) return;
  if (!entry->sparse && entry->size < COPY_SPLICE_FROM - 1024) send_small(fd, entry, shown);
  else send_big(fd, entry, shown);
}
