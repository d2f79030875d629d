// The ways to say where a sparse file has data: GNU's old type, and pax 0.0, 0.1 and 1.0.
#include "report.h"
#include "stream.h"
#include "tar.h"

#include <stdlib.h>
#include <string.h>

static struct tar_extent *extents;
static size_t count, room;

_Noreturn static void damaged(void) { copy_fail("the stream is damaged: a bad map of a sparse file"); }

void tar_sparse_forget(void) { count = 0; }

void tar_sparse_add(uint64_t offset, uint64_t length) {
  if (count == TAR_EXTENTS) copy_fail("the stream has a sparse file of more than %d pieces", TAR_EXTENTS);
  if (count == room) {
    room = room ? room * 2 : 64;
    extents = realloc(extents, room * sizeof *extents);
    if (!extents) copy_fail("out of memory");
  }
  extents[count++] = (struct tar_extent){offset, length};
}

// Version 0.1: offset,length,offset,length...
void tar_sparse_map(const char *text, size_t length) {
  tar_sparse_forget();
  uint64_t offset = 0;
  bool is_length = false;
  while (length > 0) {
    const char *comma = memchr(text, ',', length);
    size_t n = comma ? (size_t)(comma - text) : length;
    uint64_t value = 0;
    if (!tar_decimal(text, n, &value)) damaged();
    if (is_length) tar_sparse_add(offset, value);
    offset = value;
    is_length = !is_length;
    text += comma ? n + 1 : n;
    length -= comma ? n + 1 : n;
  }
  if (is_length) damaged();
}

// False after the last one that is used.
static bool add_old(const uint8_t *at, size_t n) {
  for (size_t i = 0; i < n; i++, at += 24) {
    int64_t offset = 0, length = 0;
    if (at[0] == 0) return false;
    if (!tar_number(at, 12, &offset) || !tar_number(at + 12, 12, &length) || offset < 0 || length < 0) damaged();
    tar_sparse_add((uint64_t)offset, (uint64_t)length);
  }
  return true;
}

void tar_sparse_old(const uint8_t *header, struct tar_entry *entry) {
  int64_t real = 0;
  if (!tar_number(header + 483, 12, &real) || real < 0) damaged();
  entry->size = (uint64_t)real;
  entry->sparse = true;
  bool more = header[482] != 0;
  add_old(header + 386, 4);
  while (more) {
    const uint8_t *block = copy_in_block();
    if (!block) tar_ended_early();
    more = block[504] != 0;
    // An endless chain of empty blocks would be read for ever.
    if (!add_old(block, 21) && more) damaged();
  }
}

struct map_reader {
  const uint8_t *block;
  size_t at;
  uint64_t used;
};

static uint64_t map_number(struct map_reader *map, struct tar_entry *entry) {
  char digits[24];
  size_t length = 0;
  for (;;) {
    if (map->at == COPY_BLOCK) {
      if (entry->stored - map->used < COPY_BLOCK) damaged();
      map->block = copy_in_block();
      if (!map->block) tar_ended_early();
      map->used += COPY_BLOCK;
      map->at = 0;
    }
    char c = (char)map->block[map->at++];
    if (c == '\n') break;
    if (length == sizeof digits) damaged();
    digits[length++] = c;
  }
  uint64_t value = 0;
  if (!tar_decimal(digits, length, &value)) damaged();
  return value;
}

void tar_sparse_in_contents(struct tar_entry *entry) {
  struct map_reader map = {.at = COPY_BLOCK};
  tar_sparse_forget();
  uint64_t n = map_number(&map, entry);
  if (n > TAR_EXTENTS) copy_fail("the stream has a sparse file of more than %d pieces", TAR_EXTENTS);
  for (uint64_t i = 0; i < n; i++) {
    uint64_t offset = map_number(&map, entry);
    tar_sparse_add(offset, map_number(&map, entry));
  }
  entry->stored -= map.used;
}

void tar_sparse_finish(struct tar_entry *entry) {
  uint64_t end = 0, stored = 0;
  for (size_t i = 0; i < count; i++) {
    if (extents[i].offset < end || extents[i].offset > entry->size || extents[i].length > entry->size - extents[i].offset) damaged();
    end = extents[i].offset + extents[i].length;
    stored += extents[i].length;
  }
  if (stored != entry->stored) damaged();
  entry->extents = extents;
  entry->extent_count = count;
}
