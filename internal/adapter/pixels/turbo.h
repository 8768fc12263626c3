// Decoding JPEG with libjpeg-turbo. Errors leave libjpeg by longjmp and are caught in the same C function, so that no Go frame
// is ever jumped over. Every function returns 0, or 1 with a message.
#ifndef KENKYO_TURBO_H
#define KENKYO_TURBO_H

#include <stddef.h>

#define KENKYO_JPEG_MESSAGE 256

const char *kenkyo_jpeg_version(void);
int kenkyo_jpeg_size(const unsigned char *data, size_t len, int *width, int *height, char *message);
int kenkyo_jpeg_decode(const unsigned char *data, size_t len, int denominator, unsigned char *out, size_t out_len, char *message);

#endif
