#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corten_fuzzing::run("layer_compress", bytes));
