// Tar entries: what both directions know of one, reading them from the input, writing their headers to the output.
#ifndef BANGER_COPY_TAR_H
#define BANGER_COPY_TAR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TAR_NAME 4096
#define TAR_ATTRIBUTE 65536
// All extended headers of one entry together.
#define TAR_EXTENDED (1 << 20)
#define TAR_EXTENTS (1 << 20)
#define TAR_ATTRIBUTES 1024

enum tar_type { TAR_FILE = '0', TAR_HARD = '1', TAR_SYMLINK = '2', TAR_CHAR = '3', TAR_BLOCK = '4', TAR_DIRECTORY = '5', TAR_FIFO = '6', TAR_OTHER = '?' };

struct tar_attribute {
  const char *name;
  const uint8_t *value;
  size_t length;
};

struct tar_extent {
  uint64_t offset;
  uint64_t length;
};

struct tar_entry {
  enum tar_type type;
  // As it came, for TAR_OTHER.
  char flag;
  char name[TAR_NAME + 1];
  char link[TAR_NAME + 1];
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  unsigned major;
  unsigned minor;
  struct timespec mtime;
  // The file's length, and how much of it the stream has.
  uint64_t size;
  uint64_t stored;
  bool sparse;
  struct tar_extent *extents;
  size_t extent_count;
  // Values point into the reader's memory and live until the next entry.
  struct tar_attribute *attributes;
  size_t attribute_count;
};

// The next entry; false after the two zero blocks. Anything the stream may not contain ends the program. What follows in the stream are entry->stored bytes and the padding.
bool tar_read(struct tar_entry *entry);
// Padding after `stored` bytes of contents.
static inline size_t tar_padding(uint64_t stored) { return (size_t)((512 - stored % 512) % 512); }
_Noreturn void tar_ended_early(void);

void tar_write(const struct tar_entry *entry);
void tar_write_end(void);

// Numbers of headers: octal or base 256. False: no number, or out of range.
bool tar_number(const uint8_t *field, size_t width, int64_t *value);
// Decimal, all of the text; false beyond INT64_MAX.
bool tar_decimal(const char *text, size_t length, uint64_t *value);

// What extended headers (pax, GNU) say about the entry that follows them.
struct tar_extended {
  bool has_path, has_link, has_size, has_mtime, has_uid, has_gid, has_real_size, has_sparse_name;
  char path[TAR_NAME + 1];
  char link[TAR_NAME + 1];
  char sparse_name[TAR_NAME + 1];
  uint64_t size, uid, gid, real_size;
  struct timespec mtime;
  // A pax header was there at all.
  bool pax;
  uint64_t sparse_major, sparse_minor;
  bool sparse, has_pending_offset;
  uint64_t pending_offset;
};
// Parses the records of one pax header into `extended`. Those of a global one may not name a single file.
void tar_pax_parse(char *text, size_t length, struct tar_extended *extended, bool global);
void tar_pax_forget(void);
struct tar_attribute *tar_pax_attributes(size_t *count);

void tar_sparse_forget(void);
void tar_sparse_add(uint64_t offset, uint64_t length);
void tar_sparse_map(const char *text, size_t length);
// The extents of an entry of GNU's old sparse type: those of its header and of the blocks after it.
void tar_sparse_old(const uint8_t *header, struct tar_entry *entry);
// Version 1.0: the map before the contents.
void tar_sparse_in_contents(struct tar_entry *entry);
// Checks the extents against the entry's sizes and gives them to it.
void tar_sparse_finish(struct tar_entry *entry);
#endif
