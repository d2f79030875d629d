// Headers of ustar, and a pax header before those whose facts do not fit.
#include "report.h"
#include "stream.h"
#include "tar.h"
#include "wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OCTAL_7 07777777
#define OCTAL_11 077777777777

// Records are gathered here. The walk keeps one entry's attributes below TAR_EXTENDED.
static char *records;
static size_t used, room;
// The map of a sparse file, in front of its contents.
static char *map;
static size_t map_used, map_room;

static char *grow(char *text, size_t *size, size_t wanted) {
  if (wanted <= *size) return text;
  while (*size < wanted) *size = *size ? *size * 2 : 8192;
  text = realloc(text, *size);
  if (!text) copy_fail("out of memory");
  return text;
}

static size_t digits(size_t n) {
  size_t count = 1;
  while (n >= 10) n /= 10, count++;
  return count;
}

static void record(const char *key, const void *value, size_t length) {
  // The length counts itself.
  size_t rest = 1 + strlen(key) + 1 + length + 1;
  size_t size = rest + digits(rest);
  if (digits(size) != digits(rest)) size = rest + digits(size);
  records = grow(records, &room, used + size + 1);
  used += (size_t)snprintf(records + used, room - used, "%zu %s=", size, key);
  if (length > 0) memcpy(records + used, value, length);
  used += length;
  records[used++] = '\n';
}

__attribute__((format(printf, 2, 3))) static void record_text(const char *key, const char *format, ...) {
  char text[64];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  record(key, text, (size_t)length);
}

static void octal(char *field, size_t width, uint64_t value) {
  field[--width] = 0;
  while (width > 0) {
    field[--width] = (char)('0' + (value & 7));
    value >>= 3;
  }
}

// As far as it fits into the header's fields of 155 and 100 bytes.
static bool put_name(char *header, const char *name) {
  size_t length = strlen(name);
  if (length <= 100) {
    memcpy(header, name, length);
    return true;
  }
  const char *slash = length > 101 ? strchr(name + length - 101, '/') : strchr(name, '/');
  // The slash at a directory's end is none to part at.
  if (length <= 256 && slash && slash > name && slash - name <= 155 && slash[1]) {
    memcpy(header, slash + 1, length - (size_t)(slash + 1 - name));
    memcpy(header + 345, name, (size_t)(slash - name));
    return true;
  }
  memcpy(header, name, 100);
  return false;
}

static void put_header(char *header, char flag, uint64_t size) {
  header[156] = flag;
  memcpy(header + 257, "ustar\00000", 8);
  octal(header + 124, 12, size <= OCTAL_11 ? size : 0);
  memset(header + 148, ' ', 8);
  uint64_t sum = 0;
  for (size_t i = 0; i < COPY_BLOCK; i++) sum += (unsigned char)header[i];
  octal(header + 148, 7, sum);
  copy_out_write(header, COPY_BLOCK);
}

static const char *last_name(const char *name) {
  size_t length = strlen(name);
  while (length > 0 && name[length - 1] == '/') length--;
  while (length > 0 && name[length - 1] != '/') length--;
  return name + length;
}

static void write_records(const struct tar_entry *entry) {
  if (used == 0) return;
  char header[COPY_BLOCK] = {0};
  snprintf(header, 100, "PaxHeaders/%.80s", last_name(entry->name));
  octal(header + 100, 8, 0644);
  octal(header + 108, 8, 0);
  octal(header + 116, 8, 0);
  octal(header + 136, 12, 0);
  put_header(header, 'x', used);
  copy_out_write(records, used);
  copy_out_zeros(tar_padding(used));
  used = 0;
}

static void record_attributes(const struct tar_entry *entry) {
  for (size_t i = 0; i < entry->attribute_count; i++) {
    char key[1024] = "SCHILY.xattr.";
    size_t at = strlen(key);
    // A name has at most 255 bytes.
    for (const char *p = entry->attributes[i].name; *p && at + 4 < sizeof key; p++) {
      if (*p == '%' || *p == '=') {
        memcpy(key + at, *p == '%' ? "%25" : "%3D", 3);
        at += 3;
      } else {
        key[at++] = *p;
      }
    }
    key[at] = 0;
    record(key, entry->attributes[i].value, entry->attributes[i].length);
  }
}

static void map_line(uint64_t value) {
  map = grow(map, &map_room, map_used + 24);
  map_used += (size_t)snprintf(map + map_used, map_room - map_used, "%" PRIu64 "\n", value);
}

static void build_map(const struct tar_entry *entry) {
  map_used = 0;
  map_line(entry->extent_count);
  for (size_t i = 0; i < entry->extent_count; i++) {
    map_line(entry->extents[i].offset);
    map_line(entry->extents[i].length);
  }
}

static void record_sparse(const struct tar_entry *entry) {
  record_text("GNU.sparse.major", "1");
  record_text("GNU.sparse.minor", "0");
  record("GNU.sparse.name", entry->name, strlen(entry->name));
  record_text("GNU.sparse.realsize", "%" PRIu64, entry->size);
}

static void record_numbers(const struct tar_entry *entry, uint64_t contents) {
  const struct timespec *mtime = &entry->mtime;
  if (contents > OCTAL_11) record_text("size", "%" PRIu64, contents);
  if (entry->uid > OCTAL_7) record_text("uid", "%" PRIu32, entry->uid);
  if (entry->gid > OCTAL_7) record_text("gid", "%" PRIu32, entry->gid);
  if (mtime->tv_sec < 0 && mtime->tv_nsec > 0) {
    // -0.25 s is kept as -1 s and 750 ms.
    record_text("mtime", "-%" PRId64 ".%09ld", -((int64_t)mtime->tv_sec + 1), 1000000000 - mtime->tv_nsec);
  } else if (mtime->tv_nsec > 0) {
    record_text("mtime", "%" PRId64 ".%09ld", (int64_t)mtime->tv_sec, mtime->tv_nsec);
  } else if (mtime->tv_sec < 0 || (uint64_t)mtime->tv_sec > OCTAL_11) {
    record_text("mtime", "%" PRId64, (int64_t)mtime->tv_sec);
  }
}

static void put_fields(char *header, const struct tar_entry *entry) {
  octal(header + 100, 8, entry->mode);
  octal(header + 108, 8, entry->uid <= OCTAL_7 ? entry->uid : 0);
  octal(header + 116, 8, entry->gid <= OCTAL_7 ? entry->gid : 0);
  octal(header + 136, 12, entry->mtime.tv_sec >= 0 && (uint64_t)entry->mtime.tv_sec <= OCTAL_11 ? (uint64_t)entry->mtime.tv_sec : 0);
  bool device = entry->type == TAR_CHAR || entry->type == TAR_BLOCK;
  octal(header + 329, 8, device ? entry->major : 0);
  octal(header + 337, 8, device ? entry->minor : 0);
}

// What those who do not know of sparse files will call it.
static void put_sparse_name(char *header, const char *name) {
  const char *last = last_name(name);
  char text[TAR_NAME + 32];
  snprintf(text, sizeof text, "%.*sGNUSparseFile.0/%s", (int)(last - name), name, last);
  put_name(header, text);
}

void tar_write(const struct tar_entry *entry) {
  char header[COPY_BLOCK] = {0};
  uint64_t contents = entry->stored;
  if (entry->sparse) {
    build_map(entry);
    contents += map_used + tar_padding(map_used);
    put_sparse_name(header, entry->name);
    record_sparse(entry);
  } else if (!put_name(header, entry->name)) {
    record("path", entry->name, strlen(entry->name));
  }
  if (entry->type == TAR_HARD || entry->type == TAR_SYMLINK) {
    size_t length = strlen(entry->link);
    memcpy(header + 157, entry->link, length < 100 ? length : 100);
    if (length > 100) record("linkpath", entry->link, length);
  }
  record_numbers(entry, contents);
  record_attributes(entry);
  write_records(entry);
  put_fields(header, entry);
  put_header(header, (char)entry->type, contents);
  if (entry->sparse) {
    copy_out_write(map, map_used);
    copy_out_zeros(tar_padding(map_used));
  }
}

void tar_write_end(void) {
  copy_out_zeros(2 * COPY_BLOCK);
  // Other tars complain about less than a record of 20 blocks. They are not at the end of a wire, where a receiver stops at the end mark.
  if (!copy_wire_on()) copy_out_zeros((10240 - copy_out_bytes() % 10240) % 10240);
}
