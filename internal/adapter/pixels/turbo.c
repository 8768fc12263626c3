//go:build cgo && turbo

#include "turbo.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

// A progressive image may have this many scans; real ones have about ten, and each scan costs a pass over the image.
#define MAX_SCANS 64

// Some cameras pad a scan with a few bytes. More than this before a marker is entropy-coded data that decoding lost track of.
#define MAX_STRAY_BYTES 16

#define STR(x) #x
#define XSTR(x) STR(x)

struct job {
	struct jpeg_decompress_struct cinfo;
	struct jpeg_error_mgr errors;
	struct jpeg_progress_mgr progress;
	jmp_buf fail;
	char *message;
};

const char *kenkyo_jpeg_version(void) { return XSTR(LIBJPEG_TURBO_VERSION); }

static void on_error(j_common_ptr cinfo) {
	struct job *job = cinfo->client_data;
	char text[JMSG_LENGTH_MAX];
	cinfo->err->format_message(cinfo, text);
	snprintf(job->message, KENKYO_JPEG_MESSAGE, "%s", text);
	longjmp(job->fail, 1);
}

// on_message is called with level -1 for a warning, which libjpeg would outlive by inventing pixels.
static void on_message(j_common_ptr cinfo, int level) {
	if (level >= 0) return;
	switch (cinfo->err->msg_code) {
	case JWRN_ADOBE_XFORM:
	case JWRN_JFIF_MAJOR:
	case JWRN_NOT_SEQUENTIAL:
		return; // doubtful headers, whole pixels
	case JWRN_EXTRANEOUS_DATA:
		if (cinfo->err->msg_parm.i[0] <= MAX_STRAY_BYTES) return;
		break;
	}
	on_error(cinfo);
}

static void on_output(j_common_ptr cinfo) { (void)cinfo; }

static void on_progress(j_common_ptr cinfo) {
	struct job *job = cinfo->client_data;
	if (job->cinfo.input_scan_number > MAX_SCANS) {
		snprintf(job->message, KENKYO_JPEG_MESSAGE, "more than %d scans", MAX_SCANS);
		longjmp(job->fail, 1);
	}
}

static void start(struct job *job, char *message) {
	memset(job, 0, sizeof *job);
	job->message = message;
	job->cinfo.err = jpeg_std_error(&job->errors);
	job->cinfo.client_data = job;
	job->errors.error_exit = on_error;
	job->errors.emit_message = on_message;
	job->errors.output_message = on_output;
	job->progress.progress_monitor = on_progress;
}

static void open_image(struct job *job, const unsigned char *data, size_t len) {
	jpeg_create_decompress(&job->cinfo);
	job->cinfo.client_data = job; // jpeg_create_decompress keeps it; set again in case a version does not
	job->cinfo.progress = &job->progress;
	jpeg_mem_src(&job->cinfo, data, len);
	jpeg_read_header(&job->cinfo, TRUE);
}

int kenkyo_jpeg_size(const unsigned char *data, size_t len, int *width, int *height, char *message) {
	struct job job;
	start(&job, message);
	if (setjmp(job.fail)) {
		jpeg_destroy_decompress(&job.cinfo);
		return 1;
	}
	open_image(&job, data, len);
	*width = job.cinfo.image_width;
	*height = job.cinfo.image_height;
	jpeg_destroy_decompress(&job.cinfo);
	return 0;
}

// cmyk_to_rgb turns a row of four inks into colours. Adobe's files store 255 for no ink, others 0.
static void cmyk_to_rgb(const JSAMPLE *in, unsigned char *out, JDIMENSION width, int adobe) {
	for (JDIMENSION x = 0; x < width; x++, in += 4, out += 3) {
		unsigned k = adobe ? in[3] : 255 - in[3];
		for (int c = 0; c < 3; c++) {
			unsigned v = adobe ? in[c] : 255 - in[c];
			out[c] = (v * k + 127) / 255;
		}
	}
}

int kenkyo_jpeg_decode(const unsigned char *data, size_t len, int denominator, unsigned char *out, size_t out_len, char *message) {
	struct job job;
	j_decompress_ptr cinfo = &job.cinfo;
	start(&job, message);
	if (setjmp(job.fail)) {
		jpeg_destroy_decompress(&job.cinfo);
		return 1;
	}
	open_image(&job, data, len);
	int inks = cinfo->jpeg_color_space == JCS_CMYK || cinfo->jpeg_color_space == JCS_YCCK;
	cinfo->out_color_space = inks ? JCS_CMYK : JCS_RGB;
	cinfo->scale_num = 1;
	cinfo->scale_denom = denominator;
	jpeg_start_decompress(cinfo);
	size_t row = (size_t)cinfo->output_width * 3;
	if (row * cinfo->output_height != out_len) {
		snprintf(message, KENKYO_JPEG_MESSAGE, "%ux%u px do not fit the buffer", cinfo->output_width, cinfo->output_height);
		jpeg_destroy_decompress(cinfo);
		return 1;
	}
	JSAMPARRAY line = NULL;
	if (inks) {
		line = cinfo->mem->alloc_sarray((j_common_ptr)cinfo, JPOOL_IMAGE, cinfo->output_width * 4, 1);
	}
	while (cinfo->output_scanline < cinfo->output_height) {
		JSAMPROW target = out + row * cinfo->output_scanline;
		if (!inks) {
			jpeg_read_scanlines(cinfo, &target, 1);
		} else if (jpeg_read_scanlines(cinfo, line, 1) == 1) {
			cmyk_to_rgb(line[0], target, cinfo->output_width, cinfo->saw_Adobe_marker);
		}
	}
	jpeg_finish_decompress(cinfo);
	jpeg_destroy_decompress(cinfo);
	return 0;
}
