"""The record: tables, views and named queries. The database is the queue and the truth."""
