#include "words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t"
// Where they are not quoted, only a shell can tell what they mean.
#define SPECIAL "$`;|&<>()*?[\n"
// The same, where a word begins.
#define SPECIAL_FIRST "~#"

struct splitter {
  const char *at;
  // Where the next character of a word goes. A word is never longer than what it was made of.
  char *to;
  const char *problem;
};

static const char *describe(char c) {
  static char text[] = "\"?\"";
  if (c == '\n') return "several lines";
  text[1] = c;
  return text;
}

static bool take_single(struct splitter *s) {
  const char *end = strchr(++s->at, '\'');
  if (!end) {
    s->problem = "a quote without an end";
    return false;
  }
  size_t length = (size_t)(end - s->at);
  memcpy(s->to, s->at, length);
  s->to += length;
  s->at = end + 1;
  return true;
}

static bool take_double(struct splitter *s) {
  for (s->at++; *s->at != '"'; s->at++) {
    if (*s->at == '$' || *s->at == '`') {
      s->problem = describe(*s->at);
      return false;
    }
    if (*s->at == '\\' && s->at[1] != 0 && strchr("$`\"\\\n", s->at[1]) && *++s->at == '\n') continue;
    if (*s->at == 0) {
      s->problem = "a quote without an end";
      return false;
    }
    *s->to++ = *s->at;
  }
  s->at++;
  return true;
}

// Also where only blanks and ends of lines follow.
static bool ends_word(const char *at) { return *at == 0 || strchr(BLANKS, *at) || (*at == '\n' && at[strspn(at, BLANKS "\n")] == 0); }

static bool take_word(struct splitter *s) {
  if (strchr(SPECIAL_FIRST, *s->at)) s->problem = describe(*s->at);
  while (!s->problem && !ends_word(s->at)) {
    if (*s->at == '\'') {
      take_single(s);
    } else if (*s->at == '"') {
      take_double(s);
    } else if (strchr(SPECIAL, *s->at)) {
      s->problem = describe(*s->at);
    } else {
      // A backslash at the very end stands for itself; one before the end of a line joins that to the next.
      if (*s->at == '\\' && s->at[1] != 0 && *++s->at == '\n')
        s->at++;
      else
        *s->to++ = *s->at++;
    }
  }
  *s->to++ = 0;
  return !s->problem;
}

// `NAME=value` before a command is for its environment.
static bool is_assignment(const char *at) {
  if (!isalpha((unsigned char)*at) && *at != '_') return false;
  while (isalnum((unsigned char)*at) || *at == '_') at++;
  return *at == '=';
}

// Blanks, lines that go on, and the ends of lines where nothing else follows.
static const char *skip_blanks(const char *at) {
  at += strspn(at, BLANKS);
  while (strncmp(at, "\\\n", 2) == 0) at += 2 + strspn(at + 2, BLANKS);
  return at[strspn(at, BLANKS "\n")] == 0 ? "" : at;
}

bool words_split(struct words *words, const char *line, const char **problem) {
  size_t length = strlen(line);
  *words = (struct words){.list = calloc(length / 2 + 2, sizeof *words->list), .text = malloc(length + 2)};
  *problem = NULL;
  if (!words->list || !words->text) {
    words_free(words);
    return false;
  }
  struct splitter s = {.at = skip_blanks(line), .to = words->text};
  if (is_assignment(s.at)) s.problem = "a variable";
  while (!s.problem && *s.at) {
    words->list[words->count++] = s.to;
    if (take_word(&s)) s.at = skip_blanks(s.at);
  }
  if (!s.problem) return true;
  words_free(words);
  *problem = s.problem;
  return false;
}

void words_free(struct words *words) {
  free(words->list);
  free(words->text);
  *words = (struct words){0};
}

static char *put(char *to, const char *text) {
  size_t length = strlen(text);
  memcpy(to, text, length);
  return to + length;
}

char *words_quote(char *const *words) {
  // Each character takes four bytes at most, each word its quotes and a blank.
  size_t size = sizeof "exec";
  for (size_t i = 0; words[i]; i++) size += 4 * strlen(words[i]) + 3;
  char *line = malloc(size);
  if (!line) return NULL;
  char *to = put(line, "exec");
  for (size_t i = 0; words[i]; i++) {
    to = put(to, " '");
    for (const char *at = words[i]; *at; at++) {
      if (*at == '\'')
        to = put(to, "'\\''");
      else
        *to++ = *at;
    }
    *to++ = '\'';
  }
  *to = 0;
  return line;
}
