#define _GNU_SOURCE
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

// Copies a value with a NUL behind it; NULL when the value has a NUL itself.
static char *take_text(char **free_text, const struct tlv *entry) {
  if (memchr(entry->value, 0, entry->length)) return NULL;
  char *text = *free_text;
  memcpy(text, entry->value, entry->length);
  text[entry->length] = 0;
  *free_text += entry->length + 1;
  return text;
}

static bool take_tty(struct exec_request *r, const struct tlv *entry, char **free_text) {
  if (entry->length < 4) return false;
  struct tlv term = {.length = (uint16_t)(entry->length - 4), .value = entry->value + 4};
  r->tty = true;
  r->cols = get_u16(entry->value);
  r->rows = get_u16(entry->value + 2);
  r->term = take_text(free_text, &term);
  return r->term != NULL;
}

static bool take_word(char **list, size_t *count, char *text) {
  if (!text || *count >= MAX_WORDS) return false;
  list[(*count)++] = text;
  return true;
}

static bool is_set(const struct tlv *entry) { return entry->length > 0 && entry->value[0] != 0; }

static bool take_entry(struct exec_request *r, const struct tlv *entry, char **free_text) {
  switch (entry->tag) {
    case TAG_ARG:
      return take_word(r->argv, &r->arg_count, take_text(free_text, entry));
    case TAG_ENV: {
      char *text = take_text(free_text, entry);
      return text && strchr(text, '=') > text && take_word(r->env, &r->env_count, text);
    }
    case TAG_CWD:
      return (r->cwd = take_text(free_text, entry)) != NULL;
    case TAG_USER:
      return (r->user = take_text(free_text, entry)) != NULL;
    case TAG_TTY:
      return take_tty(r, entry, free_text);
    case TAG_STDIN:
      r->stdin_open = is_set(entry);
      return true;
    case TAG_LINE:
      return (r->line = take_text(free_text, entry)) != NULL;
    case TAG_LOGIN:
      r->login = is_set(entry);
      return true;
    case TAG_BUILTIN:
      r->builtin = is_set(entry);
      return true;
    case TAG_BULK:
      r->bulk = true;
      r->bulk_fd = entry->length == 1 ? entry->value[0] : 0xff;
      return r->bulk_fd <= 1;
    default:
      // A newer host's wish that this agent cannot meet is better ignored than refused.
      return true;
  }
}

bool exec_request_parse(struct exec_request *r, const uint8_t *payload, size_t length) {
  *r = (struct exec_request){0};
  // Each entry takes 4 bytes of header at least, so its NUL always fits.
  r->text = malloc(length + 1);
  r->argv = calloc(length / 4 + 1, sizeof *r->argv);
  r->env = calloc(length / 4 + 1, sizeof *r->env);
  char *free_text = r->text;
  size_t at = 0;
  struct tlv entry;
  bool bad = !r->text || !r->argv || !r->env;
  while (!bad && tlv_next(payload, length, &at, &entry, &bad)) bad = !take_entry(r, &entry, &free_text);
  // A line stands in place of words, and the agent's own programs take words only.
  bad = bad || (r->line && r->arg_count > 0) || (r->builtin && (r->arg_count == 0 || r->login)) || (r->bulk && (!r->builtin || r->tty));
  if (bad) exec_request_free(r);
  return !bad;
}

void exec_request_free(struct exec_request *r) {
  free(r->text);
  free(r->argv);
  free(r->env);
  *r = (struct exec_request){0};
}

static bool take_string(char *to, size_t size, const struct tlv *entry) {
  if (entry->length == 0 || entry->length >= size || memchr(entry->value, 0, entry->length)) return false;
  memcpy(to, entry->value, entry->length);
  to[entry->length] = 0;
  return true;
}

static bool take_target(struct target_request *r, const struct tlv *entry) {
  switch (entry->tag) {
    case TAG_HOST:
      return take_string(r->host, sizeof r->host, entry);
    case TAG_PATH:
      return take_string(r->path, sizeof r->path, entry);
    case TAG_USER:
      return take_string(r->user, sizeof r->user, entry);
    case TAG_PORT:
      if (entry->length != 2) return false;
      r->port = get_u16(entry->value);
      return true;
    default:
      return true;
  }
}

bool target_request_parse(struct target_request *r, const uint8_t *payload, size_t length, bool any_port) {
  *r = (struct target_request){0};
  size_t at = 0;
  struct tlv entry;
  bool bad = false;
  while (!bad && tlv_next(payload, length, &at, &entry, &bad)) bad = !take_target(r, &entry);
  if (bad) return false;
  if (r->path[0]) return r->host[0] == 0;
  return r->host[0] != 0 && (any_port || r->port != 0);
}
