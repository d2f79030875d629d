#define _GNU_SOURCE
#include <string.h>

#include "server.h"
#include "util.h"

void send_control(struct server *server, const struct frame *frame) {
  if (!session_send(&server->session, frame)) say("frame of type %u does not fit", frame->type);
}

void send_u32(struct server *server, uint8_t type, uint32_t stream, uint8_t flags, uint32_t value) {
  uint8_t payload[4];
  put_u32(payload, value);
  send_control(server, &(struct frame){.type = type, .flags = flags, .stream = stream, .length = 4, .payload = payload});
}

void send_failed(struct server *server, uint32_t stream, int reason, const char *message) {
  uint8_t payload[512], number[4];
  size_t length = 0;
  put_u32(number, (uint32_t)reason);
  tlv_put(payload, sizeof payload, &length, TAG_ERRNO, number, sizeof number);
  tlv_put(payload, sizeof payload, &length, TAG_MESSAGE, message, strnlen(message, 256));
  send_control(server, &(struct frame){.type = FRAME_FAILED, .stream = stream, .length = (uint32_t)length, .payload = payload});
}
