// One line a fact: a key, then fields parted by one space; a field's bytes outside of `!` to `~`, and `%`, are %XX.
#define _GNU_SOURCE
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

#define CONFIG_LIMIT (1 << 20)
#define MAX_FIELDS 8
#define MAX_LIST 4096

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static bool decode_field(char *field) {
  char *to = field;
  for (char *from = field; *from; to++) {
    if (*from != '%') {
      *to = *from++;
      continue;
    }
    int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
    if (low < 0 || (high | low) == 0) return false;
    *to = (char)(high * 16 + low);
    from += 3;
  }
  *to = 0;
  return true;
}

static bool parse_token(struct config *config, const char *text) {
  if (strlen(text) != TOKEN_SIZE * 2) return false;
  for (size_t i = 0; i < TOKEN_SIZE; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    config->token[i] = (uint8_t)(high * 16 + low);
  }
  config->has_token = true;
  return true;
}

static bool parse_number(const char *text, int base, unsigned long max, unsigned *value) {
  char *end;
  unsigned long n = strtoul(text, &end, base);
  if (*text == 0 || *text == '-' || *end != 0 || n > max) return false;
  *value = (unsigned)n;
  return true;
}

static bool parse_init(struct config *config, const char *word) {
  static const char *const names[] = {"auto", "image", "agent"};
  for (size_t i = 0; i < COUNT_OF(names); i++)
    if (strcmp(word, names[i]) == 0) {
      config->init = (enum init_mode)i;
      return true;
    }
  return false;
}

// net <mac> <address> <prefix> <gateway> <mtu>
static bool parse_net(struct config *config, char **f) {
  config->mac = f[1];
  config->address = f[2];
  config->gateway = f[4];
  return parse_number(f[3], 10, 32, &config->prefix) && parse_number(f[5], 10, 65535, &config->mtu);
}

static bool add_env(struct config *config, const char *entry) {
  if (!strchr(entry, '=') || config->env_count >= MAX_LIST) return false;
  const char **larger = realloc(config->env, (config->env_count + 1) * sizeof *larger);
  if (!larger) return false;
  config->env = larger;
  config->env[config->env_count++] = entry;
  return true;
}

// file <octal mode> <path> <source>
static bool add_file(struct config *config, char **f) {
  if (config->file_count >= MAX_LIST || f[2][0] != '/') return false;
  struct file_spec *larger = realloc(config->files, (config->file_count + 1) * sizeof *larger);
  if (!larger) return false;
  config->files = larger;
  struct file_spec *file = &config->files[config->file_count++];
  *file = (struct file_spec){.path = f[2], .source = f[3]};
  return parse_number(f[1], 8, 07777, &file->mode);
}

// mount <drive> <target> <fstype> seed|plain
static bool add_mount(struct config *config, char **f) {
  if (config->mount_count >= COUNT_OF(config->mounts) || f[2][0] != '/') return false;
  config->mounts[config->mount_count++] =
      (struct mount_spec){.drive = f[1], .target = f[2], .fstype = f[3], .seed = strcmp(f[4], "seed") == 0};
  return true;
}

static bool add_nameserver(struct config *config, const char *address) {
  if (config->nameserver_count < COUNT_OF(config->nameservers)) config->nameservers[config->nameserver_count++] = address;
  return true;
}

// host <address> <name>
static bool add_host(struct config *config, char **f) {
  if (config->host_count >= COUNT_OF(config->hosts)) return false;
  config->hosts[config->host_count++] = (struct host_name){.address = f[1], .name = f[2]};
  return true;
}

static bool parse_line(struct config *config, char **f, size_t count) {
  const char *key = f[0];
  if (strcmp(key, "token") == 0 && count == 2) return parse_token(config, f[1]);
  if (strcmp(key, "hostname") == 0 && count == 2) return config->hostname = f[1], true;
  if (strcmp(key, "init") == 0 && count == 2) return parse_init(config, f[1]);
  if (strcmp(key, "env") == 0 && count == 2) return add_env(config, f[1]);
  if (strcmp(key, "net") == 0 && count == 6) return parse_net(config, f);
  if (strcmp(key, "nameserver") == 0 && count == 2) return add_nameserver(config, f[1]);
  if (strcmp(key, "host") == 0 && count == 3) return add_host(config, f);
  if (strcmp(key, "mount") == 0 && count == 5) return add_mount(config, f);
  if (strcmp(key, "file") == 0 && count == 4) return add_file(config, f);
  return false;
}

static size_t split_fields(char *line, char **fields) {
  size_t count = 0;
  for (char *at = line; at && count < MAX_FIELDS; count++) {
    char *next = strchr(at, ' ');
    if (next) *next++ = 0;
    fields[count] = at;
    at = next;
  }
  return count;
}

bool config_parse(struct config *config, char *text, const char **error) {
  *config = (struct config){.hostname = "localhost"};
  char *rest = text, *line;
  while ((line = strsep(&rest, "\n"))) {
    if (*line == 0 || *line == '#') continue;
    char *fields[MAX_FIELDS];
    size_t count = split_fields(line, fields);
    bool ok = true;
    for (size_t i = 0; i < count; i++) ok = ok && decode_field(fields[i]);
    if (!ok || !parse_line(config, fields, count)) {
      *error = "the configuration has a line the agent does not understand";
      return false;
    }
  }
  if (!config->has_token) *error = "the configuration has no token";
  return config->has_token;
}

bool config_load(struct config *config, const char *path, const char **error) {
  char *text = read_file(path, CONFIG_LIMIT, NULL);
  if (!text) {
    *error = "the configuration cannot be read";
    return false;
  }
  return config_parse(config, text, error);
}
