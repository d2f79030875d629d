// What the host tells this boot: `/banger/config` in the VM's own archive, later `/run/banger/config`.
#ifndef BANGER_CONFIG_H
#define BANGER_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_SIZE 16

enum init_mode { INIT_AUTO, INIT_IMAGE, INIT_AGENT };

struct mount_spec {
  const char *drive, *target, *fstype;
  bool seed;
};

struct file_spec {
  unsigned mode;
  // Where it goes, and where it lies in the archive.
  const char *path, *source;
};

struct host_name {
  const char *address, *name;
};

struct config {
  uint8_t token[TOKEN_SIZE];
  bool has_token;
  enum init_mode init;
  const char *hostname;
  // Network; `mac` is NULL without one.
  const char *mac, *address, *gateway;
  unsigned prefix, mtu;
  const char *nameservers[4];
  size_t nameserver_count;
  // Beside localhost and our own.
  struct host_name hosts[8];
  size_t host_count;
  const char **env;
  size_t env_count;
  struct mount_spec mounts[16];
  size_t mount_count;
  struct file_spec *files;
  size_t file_count;
};

// Parses text in place: the strings of `config` point into it. On failure `*error` is a sentence.
bool config_parse(struct config *config, char *text, const char **error);
// Reads and parses; the text is never freed.
bool config_load(struct config *config, const char *path, const char **error);
#endif
