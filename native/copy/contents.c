// What is in a file: through the page cache, by splice, or past the cache.
#define _GNU_SOURCE
#include "receive.h"
#include "stream.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

// In an emulated guest the page cache costs several times what the disk does. Smaller files do not gain from going past it, as each write waits for the disk.
#define DIRECT_FROM (256 << 10)
#define DIRECT_PIECE (1 << 20)

// The file takes whole units from here past the cache.
static bool direct;

static bool set_direct(int fd, bool on) {
  // Of what F_SETFL can set, a file that we opened to write has nothing else.
  direct = fcntl(fd, F_SETFL, on ? O_DIRECT : 0) == 0 && on;
  return direct == on;
}

static bool write_all(int fd, const uint8_t *data, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, data, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EINVAL && direct && set_direct(fd, false)) continue;
    if (n < 0) return false;
    data += n;
    length -= (size_t)n;
  }
  return true;
}

// Contents at the file's position. False with errno: the file takes no more.
static bool write_range(int fd, uint64_t length, uint64_t *left) {
  static bool no_splice;
  while (length > 0) {
    int64_t n;
    if (length >= COPY_SPLICE_FROM && !no_splice && copy_in_empty()) {
      n = copy_in_splice(fd, length);
      if (n < 0 && errno == EINVAL) {
        no_splice = true;
        continue;
      }
    } else {
      const uint8_t *data;
      n = (int64_t)copy_in_some(&data, length);
      // What was taken from the input is gone, written or not.
      if (n > 0 && !write_all(fd, data, (size_t)n)) {
        int error = errno;
        *left -= (uint64_t)n;
        errno = error;
        return false;
      }
    }
    if (n < 0) return false;
    if (n == 0) tar_ended_early();
    length -= (uint64_t)n;
    *left -= (uint64_t)n;
  }
  return true;
}

static bool write_sparse(int fd, const struct tar_entry *entry, uint64_t *left) {
  if (ftruncate(fd, (off_t)entry->size) < 0) return false;
  for (size_t i = 0; i < entry->extent_count; i++) {
    const struct tar_extent *extent = &entry->extents[i];
    if (extent->length == 0) continue;
    if (lseek(fd, (off_t)extent->offset, SEEK_SET) < 0 || !write_range(fd, extent->length, left)) return false;
  }
  return true;
}

// As much as O_DIRECT takes. Where a file system does not know it, or only at the first write, it is done without.
static bool write_direct(int fd, uint64_t length, uint64_t *left) {
  if (!set_direct(fd, true)) return true;
  bool good = true;
  while (good && length >= COPY_UNIT) {
    const uint8_t *data;
    size_t n = copy_in_units(&data, length < DIRECT_PIECE ? (size_t)(length - length % COPY_UNIT) : DIRECT_PIECE, length);
    if (n == 0) tar_ended_early();
    length -= n;
    *left -= n;
    good = write_all(fd, data, n);
  }
  if (good && direct) set_direct(fd, false);
  return good;
}

bool copy_contents(int fd, const struct tar_entry *entry, uint64_t *left) {
  if (entry->sparse) return write_sparse(fd, entry, left);
  bool is_past = copy_wire_is_port() && entry->stored >= DIRECT_FROM;
  if (is_past && !write_direct(fd, entry->stored, left)) return false;
  // Of a file that grows, ext4 writes the inode into its journal with each page: a third of all its work.
  if (!is_past && entry->stored > COPY_UNIT && ftruncate(fd, (off_t)entry->stored) < 0) return false;
  return write_range(fd, *left, left);
}
