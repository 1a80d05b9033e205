//! Real shims around real containers. This program is test, forker of shims, and the command inside the containers;
//! the first argument picks the role.

#![expect(clippy::print_stderr, reason = "the test program tells what it does")]

mod daemons;
mod execs;
mod inside;
mod memory;
mod scene;
mod streams;

use corten_testing::need_root;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// A test: it gets a forker of shims.
type Test = fn(&scene::Forker);

/// Every test of this program.
const TESTS: &[(&str, Test)] = &[
    ("streams::the_first_byte_the_last_line_and_the_code_arrive", streams::first_byte_last_line_and_code),
    ("streams::half_close_ends_the_input_and_output_still_comes", streams::half_close),
    ("streams::input_stays_open_over_clients_unless_it_is_once", streams::input_stays_open),
    ("streams::leftover_bytes_of_the_request_are_input", streams::leftover),
    ("streams::a_terminal_is_raw_has_a_size_and_detaches_by_keys", streams::terminal),
    ("streams::a_client_that_does_not_read_slows_and_one_that_goes_frees", streams::slow_client),
    ("streams::all_attached_clients_get_all_output", streams::two_clients),
    ("streams::a_rotated_log_is_followed_without_a_gap", streams::rotated_log),
    ("streams::a_full_disk_does_not_stop_the_container", streams::log_failure),
    ("execs::an_exec_has_its_own_streams_and_code", execs::own_streams_and_code),
    ("execs::an_exec_that_cannot_start_gives_its_client_back", execs::cannot_start),
    ("execs::a_descendant_that_keeps_the_pipe_does_not_keep_the_exec", execs::descendant),
    ("execs::signals_reach_the_one_they_are_sent_to", execs::signals),
    ("execs::execs_end_with_the_container_and_are_in_its_record", execs::end_with_container),
    ("daemons::a_start_that_fails_says_why_and_leaves_nothing", daemons::failed_start),
    ("daemons::a_spare_shim_waits_and_is_as_all_others_then", daemons::spares),
    ("daemons::events_wait_for_a_daemon_that_hears_them", daemons::events_wait),
    ("daemons::rubbish_on_the_socket_hurts_nobody", daemons::rubbish),
    ("daemons::kept_descriptors_come_back", daemons::kept_descriptors),
    ("daemons::nothing_is_lost_when_daemons_die_at_random", daemons::random_deaths),
    ("daemons::out_of_memory_is_told", daemons::out_of_memory),
    ("memory::ten_idle_shims_are_small", memory::ten_idle_shims),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().unwrap_or_default().as_str() {
        "inside" => inside::run(arguments),
        "forker" => scene::forker_role(),
        "--list" => ExitCode::SUCCESS,
        filter => run_tests(if filter.starts_with('-') { "" } else { filter }),
    }
}

fn run_tests(filter: &str) -> ExitCode {
    if !need_root() {
        return ExitCode::SUCCESS;
    }
    let forker = scene::Forker::start();
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(filter)) {
        let begin = std::time::Instant::now();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| test(&forker)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("test {name} ... {verdict} ({} ms)", begin.elapsed().as_millis());
        failed += usize::from(result.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
