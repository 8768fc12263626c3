// Package telemetry counts what the platform does, for Prometheus. Labels hold routes, models, states and reasons only: never an
// identifier, and nothing of a patient.
package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/lab"
)

var _ detect.Observer = (*Metrics)(nil)

// QueueDepth is what waits for one model.
type QueueDepth struct {
	Model  string
	State  lab.ImageState
	Images int
	Oldest time.Duration // how long the first of them has waited
}

// Metrics is the registry of one process.
type Metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.HistogramVec
	accepted   *prometheus.CounterVec
	bytes      prometheus.Counter
	refused    *prometheus.CounterVec
	detection  *prometheus.HistogramVec
	completed  *prometheus.CounterVec
	corrupt    prometheus.Counter
	released   prometheus.Counter
	turnaround prometheus.Histogram
	leaseLost  *prometheus.CounterVec
}

// New makes the metrics of a process. queue may be nil where the process has no database.
func New(queue func(ctx context.Context) ([]QueueDepth, error), log *slog.Logger) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kenkyo_http_request_seconds", Help: "Time to answer, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route", "status"}),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kenkyo_images_accepted_total", Help: "Images durably accepted; replays are the same submission sent again.",
		}, []string{"replay"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kenkyo_upload_bytes_total", Help: "Bytes of accepted uploads whose length was declared.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kenkyo_submissions_refused_total", Help: "Submissions refused, by kind of error.",
		}, []string{"kind"}),
		detection: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kenkyo_detection_seconds", Help: "Decode, inference and reading of one image.",
			Buckets: prometheus.ExponentialBuckets(0.004, 1.6, 16),
		}, []string{"model"}),
		completed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kenkyo_images_completed_total", Help: "Images that detection finished, by state and reason.",
		}, []string{"model", "state", "reason"}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kenkyo_images_corrupt_total", Help: "ALARM: stored images that are missing or not authentic.",
		}),
		released: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kenkyo_reports_released_total", Help: "Reports released.",
		}),
		turnaround: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kenkyo_turnaround_seconds", Help: "Time from receipt to release.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400},
		}),
		leaseLost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kenkyo_claims_lost_total", Help: "Images whose claim was lost before they were completed.",
		}, []string{"model"}),
	}
	m.registry.MustRegister(m.requests, m.accepted, m.bytes, m.refused, m.detection, m.completed, m.corrupt, m.released,
		m.turnaround, m.leaseLost, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if queue != nil {
		m.registry.MustRegister(&queueCollector{read: queue, log: log})
	}
	return m
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Answered counts one HTTP answer.
func (m *Metrics) Answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Accepted counts one accepted submission.
func (m *Metrics) Accepted(images int, bytes int64, isReplay bool) {
	m.accepted.WithLabelValues(strconv.FormatBool(isReplay)).Add(float64(images))
	m.bytes.Add(float64(bytes))
}

// Refused counts one refused submission.
func (m *Metrics) Refused(kind string) { m.refused.WithLabelValues(kind).Inc() }

// Detected implements detect.Observer.
func (m *Metrics) Detected(model string, took time.Duration) {
	m.detection.WithLabelValues(model).Observe(took.Seconds())
}

// Completed implements detect.Observer.
func (m *Metrics) Completed(model string, state lab.ImageState, reason string) {
	m.completed.WithLabelValues(model, string(state), reason).Inc()
	if reason == string(lab.RejectCorrupt) {
		m.corrupt.Inc()
	}
}

// Released implements detect.Observer.
func (m *Metrics) Released(waited time.Duration) {
	m.released.Inc()
	m.turnaround.Observe(waited.Seconds())
}

// LeaseLost implements detect.Observer.
func (m *Metrics) LeaseLost(model string, images int) {
	m.leaseLost.WithLabelValues(model).Add(float64(images))
}

// queueCollector reads the queue when it is scraped.
type queueCollector struct {
	read func(ctx context.Context) ([]QueueDepth, error)
	log  *slog.Logger
}

var (
	depthDesc = prometheus.NewDesc("kenkyo_queue_images", "Images in a state that is not final.", []string{"model", "state"}, nil)
	ageDesc   = prometheus.NewDesc("kenkyo_queue_age_seconds", "Age of the oldest image in the state.", []string{"model", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) { ch <- depthDesc; ch <- ageDesc }

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	depths, err := c.read(ctx)
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelError, "queue not readable for metrics", slog.Any("error", err))
		return
	}
	for _, d := range depths {
		ch <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(d.Images), d.Model, string(d.State))
		ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, d.Oldest.Seconds(), d.Model, string(d.State))
	}
}
