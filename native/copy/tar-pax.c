// Records of pax headers: `<length> <key>=<value>\n`.
#include "report.h"
#include "tar.h"

#include <string.h>

static struct tar_attribute attributes[TAR_ATTRIBUTES];
static size_t attribute_count;

void tar_pax_forget(void) { attribute_count = 0; }

struct tar_attribute *tar_pax_attributes(size_t *count) {
  *count = attribute_count;
  return attributes;
}

static void number(const char *key, const char *value, size_t length, uint64_t *out) {
  if (!tar_decimal(value, length, out)) copy_fail("the stream is damaged: %s is not a number in an extended header", key);
}

static bool name(char *out, const char *value, size_t length) {
  // An empty value takes the record back.
  if (length == 0) return false;
  if (length > TAR_NAME) copy_fail("the stream has a name of more than %d bytes", TAR_NAME);
  if (memchr(value, 0, length)) copy_fail("the stream is damaged: a name with a NUL in it");
  memcpy(out, value, length);
  out[length] = 0;
  return true;
}

// Seconds with a fraction; digits beyond nanoseconds are dropped.
static void point_in_time(const char *value, size_t length, struct timespec *out) {
  bool negative = length > 0 && value[0] == '-';
  if (negative) value++, length--;
  const char *dot = memchr(value, '.', length);
  size_t whole = dot ? (size_t)(dot - value) : length;
  uint64_t seconds = 0;
  long nanoseconds = 0, unit = 100000000;
  bool good = tar_decimal(value, whole, &seconds);
  for (size_t i = whole + 1; i < length; i++) {
    if (value[i] < '0' || value[i] > '9') good = false;
    nanoseconds += (value[i] - '0') * unit;
    unit /= 10;
  }
  if (!good) copy_fail("the stream is damaged: a time that is not a number in an extended header");
  *out = (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
  if (!negative) return;
  out->tv_sec = -out->tv_sec - (nanoseconds > 0);
  out->tv_nsec = nanoseconds > 0 ? 1000000000 - nanoseconds : 0;
}

// GNU tar writes % and = of attribute names as %25 and %3D. In place: the result is never longer.
static void decode_name(char *text) {
  char *out = text;
  for (char *p = text; *p; p++) {
    bool equals = strncmp(p, "%3D", 3) == 0;
    if (equals || strncmp(p, "%25", 3) == 0) {
      *out++ = equals ? '=' : '%';
      p += 2;
    } else {
      *out++ = *p;
    }
  }
  *out = 0;
}

static void attribute(char *key, const char *value, size_t length) {
  if (length > TAR_ATTRIBUTE) copy_fail("the stream has an extended attribute of more than %d bytes", TAR_ATTRIBUTE);
  decode_name(key);
  // Later records of a name win.
  for (size_t i = 0; i < attribute_count; i++) {
    if (strcmp(attributes[i].name, key) != 0) continue;
    attributes[i].value = (const uint8_t *)value;
    attributes[i].length = length;
    return;
  }
  if (attribute_count == TAR_ATTRIBUTES) copy_fail("the stream has an entry with more than %d extended attributes", TAR_ATTRIBUTES);
  attributes[attribute_count++] = (struct tar_attribute){key, (const uint8_t *)value, length};
}

static void sparse_record(const char *key, const char *value, size_t length, struct tar_extended *extended) {
  uint64_t n = 0;
  extended->sparse = true;
  if (strcmp(key, "major") == 0) {
    number(key, value, length, &extended->sparse_major);
  } else if (strcmp(key, "minor") == 0) {
    number(key, value, length, &extended->sparse_minor);
  } else if (strcmp(key, "name") == 0) {
    extended->has_sparse_name = name(extended->sparse_name, value, length);
  } else if (strcmp(key, "size") == 0 || strcmp(key, "realsize") == 0) {
    number(key, value, length, &extended->real_size);
    extended->has_real_size = true;
  } else if (strcmp(key, "map") == 0) {
    tar_sparse_map(value, length);
  } else if (strcmp(key, "offset") == 0) {
    number(key, value, length, &extended->pending_offset);
    extended->has_pending_offset = true;
  } else if (strcmp(key, "numbytes") == 0) {
    number(key, value, length, &n);
    if (!extended->has_pending_offset) copy_fail("the stream is damaged: a sparse map without an offset");
    extended->has_pending_offset = false;
    tar_sparse_add(extended->pending_offset, n);
  }
}

static void record_of_one(char *key, const char *value, size_t length, struct tar_extended *extended) {
  if (strcmp(key, "path") == 0) {
    extended->has_path = name(extended->path, value, length);
  } else if (strcmp(key, "linkpath") == 0) {
    extended->has_link = name(extended->link, value, length);
  } else if (strcmp(key, "size") == 0) {
    extended->has_size = length > 0;
    if (length > 0) number(key, value, length, &extended->size);
  } else if (strncmp(key, "SCHILY.xattr.", 13) == 0 && key[13]) {
    attribute(key + 13, value, length);
  } else if (strncmp(key, "GNU.sparse.", 11) == 0) {
    sparse_record(key + 11, value, length, extended);
  }
}

static void record(char *key, const char *value, size_t length, struct tar_extended *extended, bool global) {
  if (strcmp(key, "mtime") == 0) {
    extended->has_mtime = length > 0;
    if (length > 0) point_in_time(value, length, &extended->mtime);
  } else if (strcmp(key, "uid") == 0) {
    extended->has_uid = length > 0;
    if (length > 0) number(key, value, length, &extended->uid);
  } else if (strcmp(key, "gid") == 0) {
    extended->has_gid = length > 0;
    if (length > 0) number(key, value, length, &extended->gid);
  } else if (!global) {
    record_of_one(key, value, length, extended);
  } else if (strcmp(key, "path") == 0 || strcmp(key, "linkpath") == 0 || strcmp(key, "size") == 0 || strncmp(key, "GNU.sparse.", 11) == 0) {
    copy_fail("the stream is damaged: a global header with the %s of one file", key);
  }
}

void tar_pax_parse(char *text, size_t length, struct tar_extended *extended, bool global) {
  if (!global) extended->pax = true;
  while (length > 0) {
    char *space = memchr(text, ' ', length < 20 ? length : 20);
    uint64_t size = 0;
    if (!space || !tar_decimal(text, (size_t)(space - text), &size) || size > length) copy_fail("the stream is damaged: a bad record in an extended header");
    char *key = space + 1;
    char *end = text + size;
    if (key >= end || end[-1] != '\n') copy_fail("the stream is damaged: a bad record in an extended header");
    char *equals = memchr(key, '=', (size_t)(end - key));
    if (!equals || equals == key || memchr(key, 0, (size_t)(equals - key))) copy_fail("the stream is damaged: a bad record in an extended header");
    *equals = 0;
    record(key, equals + 1, (size_t)(end - 1 - (equals + 1)), extended, global);
    text = end;
    length -= (size_t)size;
  }
}
