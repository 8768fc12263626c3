-- +goose Up
-- Times are UTC microseconds. Identifiers of people, specimens and files are sealed (_sealed) and found by keyed digest (_mac).

CREATE TABLE facility (
    id             VARCHAR(64)  NOT NULL PRIMARY KEY,
    name           VARCHAR(200) NOT NULL UNIQUE,
    wrapped_keyset BLOB         NOT NULL,
    wrapped_index  BLOB         NOT NULL,
    created_at     BIGINT       NOT NULL
);

-- One row a facility: locked by every release, so that sequence numbers follow commits.
CREATE TABLE release_counter (
    facility_id VARCHAR(64) NOT NULL PRIMARY KEY REFERENCES facility (id),
    sequence    BIGINT      NOT NULL,
    released_at BIGINT      NOT NULL
);

CREATE TABLE device (
    id            VARCHAR(64)  NOT NULL PRIMARY KEY,
    facility_id   VARCHAR(64)  NOT NULL REFERENCES facility (id),
    name          VARCHAR(200) NOT NULL,
    assay         VARCHAR(100) NOT NULL,
    is_designated BOOLEAN      NOT NULL,
    token_hash    BLOB         NOT NULL UNIQUE,
    enrolled_at   BIGINT       NOT NULL,
    revoked_at    BIGINT
);
CREATE INDEX device_by_facility ON device (facility_id);

CREATE TABLE invitation (
    code_hash     BLOB         NOT NULL PRIMARY KEY,
    facility_id   VARCHAR(64)  NOT NULL REFERENCES facility (id),
    device_name   VARCHAR(200) NOT NULL,
    assay         VARCHAR(100) NOT NULL,
    is_designated BOOLEAN      NOT NULL,
    expires_at    BIGINT       NOT NULL,
    used_at       BIGINT
);

CREATE TABLE specimen (
    facility_id      VARCHAR(64) NOT NULL REFERENCES facility (id),
    specimen_mac     BLOB        NOT NULL,
    specimen_sealed  BLOB        NOT NULL,
    wrapped_key      BLOB        NOT NULL,
    created_at       BIGINT      NOT NULL,
    PRIMARY KEY (facility_id, specimen_mac)
);

-- One accepted submission: all images of one specimen sent together, answered by one report.
CREATE TABLE image_set (
    request_id        VARCHAR(64)  NOT NULL PRIMARY KEY,
    facility_id       VARCHAR(64)  NOT NULL REFERENCES facility (id),
    device_id         VARCHAR(64)  NOT NULL REFERENCES device (id),
    specimen_mac      BLOB         NOT NULL,
    assay             VARCHAR(100) NOT NULL,
    condition_name    VARCHAR(100) NOT NULL,
    priority          VARCHAR(10)  NOT NULL,
    captured_at       BIGINT,
    pixel_size_um     DOUBLE PRECISION NOT NULL,
    first_pass_sealed BLOB,
    flags             VARCHAR(200) NOT NULL,
    identity_mac      BLOB,
    body_mac          BLOB         NOT NULL,
    open_images       INTEGER      NOT NULL,
    trace_id          VARCHAR(128) NOT NULL,
    received_at       BIGINT       NOT NULL,
    FOREIGN KEY (facility_id, specimen_mac) REFERENCES specimen (facility_id, specimen_mac)
);
-- identity_mac is NULL once the submission may be sent again: its key expired or an image of it was rejected.
CREATE UNIQUE INDEX image_set_identity ON image_set (facility_id, identity_mac);

CREATE TABLE field_image (
    id               VARCHAR(64)  NOT NULL PRIMARY KEY,
    request_id       VARCHAR(64)  NOT NULL REFERENCES image_set (request_id),
    facility_id      VARCHAR(64)  NOT NULL REFERENCES facility (id),
    ordinal          INTEGER      NOT NULL,
    image_id         VARCHAR(200) NOT NULL,
    file_name_sealed BLOB,
    sha256           VARCHAR(64)  NOT NULL,
    bytes            BIGINT       NOT NULL,
    format           VARCHAR(10)  NOT NULL,
    width_px         INTEGER      NOT NULL,
    height_px        INTEGER      NOT NULL,
    wrapped_key      BLOB         NOT NULL,
    model            VARCHAR(100) NOT NULL,
    state            VARCHAR(12)  NOT NULL,
    urgency          INTEGER      NOT NULL, -- 0 STAT, 1 routine
    received_at      BIGINT       NOT NULL,
    available_at     BIGINT       NOT NULL, -- not claimed before this time
    claim_token      VARCHAR(64),
    claim_owner      VARCHAR(200),
    lease_until      BIGINT,
    lost_leases      INTEGER      NOT NULL,
    review_reason    VARCHAR(20)  NOT NULL,
    reject_reason    VARCHAR(20)  NOT NULL,
    settled_at       BIGINT,                -- decided or rejected
    UNIQUE (request_id, ordinal)
);
CREATE INDEX field_image_queue ON field_image (state, model, urgency, received_at);
CREATE INDEX field_image_claim ON field_image (claim_token);

-- What a model version said of an image. Never updated.
CREATE TABLE detection (
    field_image_id VARCHAR(64)  NOT NULL PRIMARY KEY REFERENCES field_image (id),
    model          VARCHAR(100) NOT NULL,
    model_digest   VARCHAR(64)  NOT NULL,
    findings       TEXT         NOT NULL, -- JSON, lab.Finding
    lineage        TEXT         NOT NULL, -- JSON, lab.Lineage
    detected_at    BIGINT       NOT NULL
);

CREATE TABLE report (
    facility_id   VARCHAR(64)  NOT NULL REFERENCES facility (id),
    sequence      BIGINT       NOT NULL,
    request_id    VARCHAR(64)  NOT NULL REFERENCES image_set (request_id),
    device_id     VARCHAR(64)  NOT NULL,
    version       INTEGER      NOT NULL,
    status        VARCHAR(12)  NOT NULL,
    body          TEXT         NOT NULL, -- JSON: classifications, rejected
    classified_by VARCHAR(200) NOT NULL,
    classified_at BIGINT       NOT NULL,
    released_at   BIGINT       NOT NULL,
    PRIMARY KEY (facility_id, sequence),
    UNIQUE (request_id, version)
);
CREATE INDEX report_by_device ON report (facility_id, device_id, sequence);
CREATE INDEX report_by_time ON report (facility_id, released_at);

CREATE TABLE audit_event (
    id          VARCHAR(64)  NOT NULL PRIMARY KEY,
    at          BIGINT       NOT NULL,
    facility_id VARCHAR(64)  NOT NULL,
    actor       VARCHAR(200) NOT NULL,
    action      VARCHAR(50)  NOT NULL,
    object      VARCHAR(100) NOT NULL,
    detail      TEXT         NOT NULL,
    trace_id    VARCHAR(128) NOT NULL
);
CREATE INDEX audit_event_by_object ON audit_event (object, at);

-- +goose Down
DROP TABLE audit_event;
DROP TABLE report;
DROP TABLE detection;
DROP TABLE field_image;
DROP TABLE image_set;
DROP TABLE specimen;
DROP TABLE invitation;
DROP TABLE device;
DROP TABLE release_counter;
DROP TABLE facility;
