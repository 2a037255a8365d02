//! What the server does, one behaviour a test, in a pretended world of two workers.

mod random;
