#include "tar.h"

static bool base_256(const uint8_t *field, size_t width, int64_t *value) {
  // The highest bit marks the form, the next is the sign.
  bool negative = field[0] & 0x40;
  uint8_t fill = negative ? 0xff : 0;
  uint8_t first = negative ? (uint8_t)(field[0] | 0x80) : (uint8_t)(field[0] & 0x7f);
  size_t skipped = width > 8 ? width - 8 : 0;
  for (size_t i = 0; i < skipped; i++)
    if ((i == 0 ? first : field[i]) != fill) return false;
  uint64_t bits = skipped == 0 && negative ? UINT64_MAX : 0;
  for (size_t i = skipped; i < width; i++) bits = bits << 8 | (i == 0 ? first : field[i]);
  if (negative != (bool)(bits >> 63)) return false;
  *value = (int64_t)bits;
  return true;
}

bool tar_number(const uint8_t *field, size_t width, int64_t *value) {
  if (field[0] & 0x80) return base_256(field, width, value);
  size_t at = 0;
  while (at < width && field[at] == ' ') at++;
  uint64_t number = 0;
  for (; at < width && field[at] >= '0' && field[at] <= '7'; at++) {
    if (number >> 60) return false;
    number = number << 3 | (uint64_t)(field[at] - '0');
  }
  for (; at < width; at++)
    if (field[at] != 0 && field[at] != ' ') return false;
  *value = (int64_t)number;
  return true;
}

bool tar_decimal(const char *text, size_t length, uint64_t *value) {
  uint64_t number = 0;
  if (length == 0) return false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    unsigned digit = (unsigned)(text[i] - '0');
    if (number > ((uint64_t)INT64_MAX - digit) / 10) return false;
    number = number * 10 + digit;
  }
  *value = number;
  return true;
}
