-- PostgreSQL only: SQLite's name for bytes, so that every later file runs on both.
CREATE DOMAIN blob AS BYTEA;
