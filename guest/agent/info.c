#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "server.h"
#include "stage1.h"
#include "util.h"

static void put_text(uint8_t *payload, size_t size, size_t *length, uint16_t tag, const char *text) {
  tlv_put(payload, size, length, tag, text, strlen(text));
}

void info_send(struct server *server) {
  uint8_t payload[CONTROL_MAX - FRAME_HEADER], number[4];
  size_t length = 0;
  char boot_id[64] = "";
  read_line("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
  put_u32(number, AGENT_PROTOCOL);
  put_text(payload, sizeof payload, &length, TAG_VERSION, AGENT_VERSION);
  tlv_put(payload, sizeof payload, &length, TAG_PROTOCOL, number, sizeof number);
  put_text(payload, sizeof payload, &length, TAG_BOOT_ID, boot_id);
  put_text(payload, sizeof payload, &length, TAG_INIT, server->is_init ? "agent" : "image");
  char *problems = read_file(PROBLEMS_PATH, 1 << 16, NULL), *rest = problems, *line;
  while ((line = strsep(&rest, "\n")))
    if (*line) put_text(payload, sizeof payload, &length, TAG_PROBLEM, line);
  free(problems);
  session_send(&server->session, &(struct frame){.type = FRAME_INFO, .length = (uint32_t)length, .payload = payload});
}
