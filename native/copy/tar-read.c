// Headers of v7, ustar, GNU and pax.
#define _POSIX_C_SOURCE 200809L
#include "report.h"
#include "stream.h"
#include "tar.h"

#include <stdlib.h>
#include <string.h>

// Where the fields of a header are.
enum { NAME = 0, MODE = 100, UID = 108, GID = 116, SIZE = 124, MTIME = 136, CHECKSUM = 148, FLAG = 156, LINK = 157, MAGIC = 257, MAJOR = 329, MINOR = 337, PREFIX = 345, STAR = 508 };

static struct tar_extended global;
// The extended headers of one entry, in one piece of memory that values point into.
static char *extended_text;
static size_t extended_used;
static bool first = true;

void tar_ended_early(void) {
  if (copy_in_signal()) copy_fail("stopped by a signal");
  copy_fail("the stream ended early");
}

static void refuse_compressed(const uint8_t *data, size_t length) {
  static const struct {
    const char *magic;
    size_t length;
    const char *name;
  } known[] = {{"\x1f\x8b", 2, "gzip"}, {"\xfd" "7zXZ", 5, "xz"}, {"\x28\xb5\x2f\xfd", 4, "zstd"}, {"BZh", 3, "bzip2"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (length >= known[i].length && memcmp(data, known[i].magic, known[i].length) == 0)
      copy_fail("the stream is compressed: unpack it first with `%s -dc`", known[i].name);
}

static bool is_zero(const uint8_t *block) {
  return block[0] == 0 && memcmp(block, block + 1, COPY_BLOCK - 1) == 0;
}

static bool checksum_fits(const uint8_t *block) {
  int64_t said = 0;
  if (!tar_number(block + CHECKSUM, 8, &said)) return false;
  int64_t sum = 8 * ' ', with_signs = 8 * ' ';
  for (size_t i = 0; i < COPY_BLOCK; i++) {
    if (i >= CHECKSUM && i < CHECKSUM + 8) continue;
    sum += block[i];
    // Some old writers added signed bytes.
    with_signs += (int8_t)block[i];
  }
  return said == sum || said == with_signs;
}

// The next header, or NULL after the two zero blocks.
static const uint8_t *next_header(void) {
  const uint8_t *block = copy_in_block();
  if (!block) {
    const uint8_t *rest;
    size_t length = copy_in_rest(&rest);
    if (first) refuse_compressed(rest, length);
    tar_ended_early();
  }
  if (is_zero(block)) {
    block = copy_in_block();
    if (!block) tar_ended_early();
    if (!is_zero(block)) copy_fail("the stream is damaged: one zero block in the middle");
    return NULL;
  }
  if (!checksum_fits(block)) {
    if (first) refuse_compressed(block, COPY_BLOCK);
    copy_fail(first ? "the stream is not a tar" : "the stream is damaged: a bad checksum");
  }
  first = false;
  return block;
}

static uint64_t stored_size(const uint8_t *block) {
  int64_t size = 0;
  if (!tar_number(block + SIZE, 12, &size) || size < 0 || size > INT64_MAX - COPY_BLOCK) copy_fail("the stream is damaged: a bad size");
  return (uint64_t)size;
}

// Reads an extended header's contents behind those that are there, with a NUL after it.
static char *read_extended(uint64_t size) {
  if (!extended_text) extended_text = malloc(TAR_EXTENDED + 64);
  if (!extended_text) copy_fail("out of memory");
  if (size >= TAR_EXTENDED - extended_used) copy_fail("the stream has an entry with more than %d bytes of extended headers", TAR_EXTENDED);
  char *text = extended_text + extended_used;
  if (!copy_in_exactly(text, (size_t)size) || !copy_in_skip(tar_padding(size))) tar_ended_early();
  text[size] = 0;
  // The block itself counts, too: headers without contents have an end as well.
  extended_used += (size_t)size + 1 + (size < 64 ? 64 : 0);
  if (extended_used >= TAR_EXTENDED) copy_fail("the stream has an entry with more than %d bytes of extended headers", TAR_EXTENDED);
  return text;
}

static bool read_long_name(uint64_t size, char *out) {
  // GNU counts the NUL at the end.
  if (size > TAR_NAME + 1) copy_fail("the stream has a name of more than %d bytes", TAR_NAME);
  char *text = read_extended(size);
  size_t length = strlen(text);
  if (length > TAR_NAME) copy_fail("the stream has a name of more than %d bytes", TAR_NAME);
  memcpy(out, text, length + 1);
  return length > 0;
}

// True: the block was a header about the next one.
static bool read_about_next(const uint8_t *block, struct tar_extended *extended) {
  char flag = (char)block[FLAG];
  if (flag != 'x' && flag != 'X' && flag != 'g' && flag != 'L' && flag != 'K' && flag != 'V') return false;
  uint64_t size = stored_size(block);
  if (flag == 'V') {
    if (!copy_in_skip(size + tar_padding(size))) tar_ended_early();
  } else if (flag == 'L') {
    extended->has_path = read_long_name(size, extended->path);
  } else if (flag == 'K') {
    extended->has_link = read_long_name(size, extended->link);
  } else {
    char *text = read_extended(size);
    tar_pax_parse(text, (size_t)size, flag == 'g' ? &global : extended, flag == 'g');
  }
  return true;
}

static size_t field_text(const uint8_t *field, size_t width, char *out) {
  size_t length = strnlen((const char *)field, width);
  memcpy(out, field, length);
  out[length] = 0;
  return length;
}

static void take_names(const uint8_t *block, const struct tar_extended *extended, struct tar_entry *entry) {
  size_t at = 0;
  if (memcmp(block + MAGIC, "ustar", 6) == 0 && block[PREFIX]) {
    at = field_text(block + PREFIX, memcmp(block + STAR, "tar", 4) == 0 ? 131 : 155, entry->name);
    entry->name[at++] = '/';
  }
  field_text(block + NAME, 100, entry->name + at);
  field_text(block + LINK, 100, entry->link);
  if (extended->has_path) strcpy(entry->name, extended->path);
  if (extended->has_sparse_name) strcpy(entry->name, extended->sparse_name);
  if (extended->has_link) strcpy(entry->link, extended->link);
  if (!entry->name[0]) copy_fail("the stream is damaged: an entry without a name");
}

// The field where there is no record: -1 is no owner.
static uint32_t owner(const uint8_t *field, bool has, uint64_t said) {
  int64_t value = (int64_t)said;
  if (!has && !tar_number(field, 8, &value)) copy_fail("the stream is damaged: a bad owner");
  if (value < 0 || value >= UINT32_MAX) copy_fail("the stream is damaged: an owner out of range");
  return (uint32_t)value;
}

static void take_owners(const uint8_t *block, const struct tar_extended *extended, struct tar_entry *entry) {
  const struct tar_extended *uid = extended->has_uid ? extended : &global, *gid = extended->has_gid ? extended : &global;
  entry->uid = owner(block + UID, uid->has_uid, uid->uid);
  entry->gid = owner(block + GID, gid->has_gid, gid->gid);
}

static void take_mode_and_time(const uint8_t *block, const struct tar_extended *extended, struct tar_entry *entry) {
  int64_t mode = 0, mtime = 0;
  if (!tar_number(block + MODE, 8, &mode)) copy_fail("the stream is damaged: a bad mode");
  entry->mode = (uint32_t)mode & 07777;
  if (extended->has_mtime) {
    entry->mtime = extended->mtime;
  } else if (global.has_mtime) {
    entry->mtime = global.mtime;
  } else {
    if (!tar_number(block + MTIME, 12, &mtime)) copy_fail("the stream is damaged: a bad time");
    entry->mtime = (struct timespec){.tv_sec = (time_t)mtime};
  }
}

static void take_type(const uint8_t *block, struct tar_entry *entry) {
  char flag = entry->flag = (char)block[FLAG];
  size_t length = strlen(entry->name);
  if (flag >= '1' && flag <= '6') {
    entry->type = (enum tar_type)flag;
  } else if (flag == 'D') {
    entry->type = TAR_DIRECTORY;
  } else if (flag == 0 || flag == '0' || flag == '7' || flag == 'S') {
    // v7 had no type for directories.
    entry->type = flag != 'S' && entry->name[length - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
  } else {
    entry->type = TAR_OTHER;
  }
  if ((entry->type == TAR_HARD || entry->type == TAR_SYMLINK) && !entry->link[0]) copy_fail("the stream is damaged: a link to nothing");
}

static void take_device(const uint8_t *block, struct tar_entry *entry) {
  int64_t major = 0, minor = 0;
  if (!tar_number(block + MAJOR, 8, &major) || !tar_number(block + MINOR, 8, &minor) || major < 0 || minor < 0 || major > 0xfff || minor > 0xfffff)
    copy_fail("the stream is damaged: a bad device number");
  entry->major = (unsigned)major;
  entry->minor = (unsigned)minor;
}

// Links, nodes and directories have no contents, whatever their size says. Only pax allows them for a hard link.
static bool has_contents(const struct tar_entry *entry, const struct tar_extended *extended) {
  if (entry->type == TAR_HARD) return extended->pax;
  return entry->type == TAR_FILE || entry->type == TAR_OTHER || entry->flag == 'D';
}

static void take_contents(const uint8_t *block, const struct tar_extended *extended, struct tar_entry *entry) {
  entry->stored = 0;
  if (has_contents(entry, extended)) {
    entry->stored = extended->has_size ? extended->size : stored_size(block);
    if (entry->stored > INT64_MAX - COPY_BLOCK) copy_fail("the stream is damaged: a bad size");
  }
  entry->size = entry->stored;
  entry->sparse = false;
  if (entry->flag == 'S') {
    uint8_t header[COPY_BLOCK];
    memcpy(header, block, sizeof header);
    tar_sparse_old(header, entry);
  } else if (entry->type == TAR_FILE && extended->sparse) {
    if (!extended->has_real_size) copy_fail("the stream is damaged: a sparse file without its size");
    entry->size = extended->real_size;
    entry->sparse = true;
    if (extended->sparse_major > 1 || (extended->sparse_major == 1 && extended->sparse_minor > 0)) copy_fail("the stream has a sparse file of an unknown version");
    if (extended->sparse_major == 1) tar_sparse_in_contents(entry);
  }
  if (entry->sparse) tar_sparse_finish(entry);
}

bool tar_read(struct tar_entry *entry) {
  static struct tar_extended extended;
  memset(&extended, 0, sizeof extended);
  extended_used = 0;
  tar_pax_forget();
  tar_sparse_forget();
  const uint8_t *block;
  do {
    block = next_header();
    if (!block) return false;
  } while (read_about_next(block, &extended));
  take_names(block, &extended, entry);
  take_type(block, entry);
  if (entry->flag == 'M' || entry->flag == 'N') copy_fail("the stream has a part of a file of several volumes");
  take_mode_and_time(block, &extended, entry);
  take_owners(block, &extended, entry);
  if (entry->type == TAR_CHAR || entry->type == TAR_BLOCK) take_device(block, entry);
  take_contents(block, &extended, entry);
  entry->attributes = tar_pax_attributes(&entry->attribute_count);
  return true;
}
