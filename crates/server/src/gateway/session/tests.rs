//! Tables for the session.
