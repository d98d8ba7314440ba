//! Nothing to use: this package is the test `backends`, one suite of the `durabletask` SDK against
//! every backend that is at hand. See the README beside it.
