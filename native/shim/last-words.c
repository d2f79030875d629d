// What the end of a VMM may have been, from what it wrote: a panic of the guest's kernel on the console, and the VMM's own last words.
#define _GNU_SOURCE
#include "shim.h"

#include <stdio.h>
#include <string.h>

static const char panic_text[] = "Kernel panic - not syncing";
/// A panic is followed by registers and stacks, of all CPUs where the kernel is told so, and then by the reset.
enum { PANIC_LENGTH = sizeof panic_text - 1, MAX_SINCE = 32 * 1024 };

void panic_follow(struct panic *panic, const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (panic->since < MAX_SINCE) panic->since++;
    // The pattern's first character does not come again in it, after a mismatch it begins anew.
    if (data[i] == panic_text[panic->matched]) panic->matched++;
    else panic->matched = data[i] == panic_text[0] ? 1 : 0;
    if (panic->matched < PANIC_LENGTH) continue;
    panic->matched = panic->since = 0;
    panic->seen = true;
  }
}

bool panic_at_end(const struct panic *panic) { return panic->seen && panic->since < MAX_SINCE; }

void words_add(struct words *words, const char *data, size_t size) {
  size_t room = sizeof words->text;
  if (size >= room) { data += size - room; size = room; words->length = 0; }
  if (words->length + size > room) {
    size_t kept = room - size;
    memmove(words->text, words->text + words->length - kept, kept);
    words->length = kept;
  }
  memcpy(words->text + words->length, data, size);
  words->length += size;
}

size_t words_json(const struct words *words, char *out, size_t size) {
  size_t at = 0;
  for (size_t i = 0; i < words->length && at + 3 < size; i++) {
    unsigned char c = (unsigned char)words->text[i];
    if (c == '"' || c == '\\' || c == '\n') out[at++] = '\\';
    out[at++] = c == '\n' ? 'n' : c < 0x20 || c > 0x7e ? '?' : (char)c;
  }
  out[at] = '\0';
  return at;
}
