//! Every row of the table of verdicts, as tests of [`judge`].

use lazaret_wire::{
    claim::{CodeStep, TrapKind},
    evidence::{Malformation, Usage},
    frame::StartStep,
    text::Text,
};

use super::*;

const LIMITS: Limits = Limits {
    cpu_micros: 1_000,
    wall_micros: 4_000,
    memory_bytes: 1,
    heap_bytes: 0,
    output_bytes: 100,
};
const ALL: [Asked; 5] =
    [Asked::Execute, Asked::Run, Asked::Precheck, Asked::PrepareToExecute, Asked::Inspect];

fn evidence(end: End, reply: Reply) -> Evidence {
    let usage = Usage { cpu_micros: 10, wall_micros: 20, ..Usage::default() };
    Evidence { end, stop: None, reply, usage, log: Vec::new(), log_lines_dropped: 0 }
}

fn whole(claim: Claim) -> Reply {
    Reply::Whole { claim, output: Output::Inline(b"out".to_vec()) }
}

fn ended(asked: Asked, end: End, reply: Reply) -> Judged {
    judge(asked, &LIMITS, Waiting::Impossible, Outcome::Ended(evidence(end, reply), OomKill::None))
        .expect("a job that ended by itself is never a fault")
}

fn stopped(asked: Asked, waiting: Waiting, stop: Stop) -> Result<Judged, Fault> {
    let mut evidence = evidence(End::Signaled(9), Reply::Silence);
    evidence.stop = Some(stop);
    judge(asked, &LIMITS, waiting, Outcome::Ended(evidence, OomKill::None))
}

fn code_refusal() -> Refusal {
    Refusal::Code { step: CodeStep::Validate, reason: Text::from("bad") }
}

fn trap() -> Refusal {
    Refusal::Trap { kind: TrapKind::Unreachable, message: Text::from("unreachable") }
}

#[test]
fn a_whole_reply_within_every_limit_is_returned() {
    let judged = ended(
        Asked::Execute,
        End::Exited(0),
        whole(Claim::Returned { memory_pages: 3, input_shift: 0 }),
    );
    assert_eq!(
        judged,
        Judged::Returned { output: Output::Inline(b"out".to_vec()), memory_pages: 3 }
    );
}

fn ran(end: RunEnd) -> Claim {
    Claim::Ran(Ran { end, memory_pages: 3, fuel_used: Some(7) })
}

#[test]
fn a_program_that_ran_to_an_end_has_returned_whatever_its_exit_code() {
    for end in [RunEnd::Exited(0), RunEnd::Exited(-1), RunEnd::Bytes, RunEnd::Values(Vec::new())] {
        let judged = ended(Asked::Run, End::Exited(0), whole(ran(end.clone())));
        let Judged::Ran(ran, output) = judged else { panic!("{judged:?}") };
        assert_eq!((ran.end, output), (end, Output::Inline(b"out".to_vec())));
    }
}

#[test]
fn a_program_refuses_itself_and_not_its_code() {
    for refusal in [
        trap(),
        Refusal::OutOfFuel { limit: 1 },
        Refusal::MemoryExhausted { asked_pages: 2, limit_pages: 1 },
        Refusal::OutputTooLarge { limit_bytes: 1 },
        Refusal::BadArguments(Text::from("x")),
    ] {
        let claim = ran(RunEnd::Refused(refusal.clone()));
        let judged = ended(Asked::Run, End::Exited(0), whole(claim));
        assert_eq!(judged, Judged::Refused(refusal));
    }
    for refusal in [code_refusal(), Refusal::CpuLimit { limit_micros: 1 }] {
        let judged = ended(Asked::Run, End::Exited(0), whole(ran(RunEnd::Refused(refusal))));
        assert_eq!(judged, Judged::Inconclusive(Doubt::Unfitting));
    }
}

#[test]
fn more_results_than_there_may_be_are_no_answer() {
    let values = |count| ran(RunEnd::Values(vec![lazaret_wire::program::Value::I32(0); count]));
    let judge = |count| ended(Asked::Run, End::Exited(0), whole(values(count)));
    assert!(matches!(judge(VALUES_MAX), Judged::Ran(..)));
    assert_eq!(judge(VALUES_MAX + 1), Judged::Inconclusive(Doubt::Unfitting));
}

/// However its job ended, and whether or not the host had to end it: the host has counted.
#[test]
fn a_program_that_wrote_too_much_is_refused() {
    for waiting in [Waiting::Possible, Waiting::Impossible] {
        let judged = judge(Asked::Run, &LIMITS, waiting, Outcome::OverOutput { limit_bytes: 9 });
        assert_eq!(judged.unwrap(), Judged::Refused(Refusal::OutputTooLarge { limit_bytes: 9 }));
    }
}

#[test]
fn a_good_reply_over_the_cpu_limit_is_refused() {
    let mut late =
        evidence(End::Exited(0), whole(Claim::Returned { memory_pages: 3, input_shift: 0 }));
    late.usage.cpu_micros = LIMITS.cpu_micros + 1;
    let judged =
        judge(Asked::Execute, &LIMITS, Waiting::Impossible, Outcome::Ended(late, OomKill::None));
    assert_eq!(judged.unwrap(), Judged::Refused(Refusal::CpuLimit { limit_micros: 1_000 }));
}

#[test]
fn a_guest_at_fault_is_refused() {
    for refusal in [
        trap(),
        Refusal::MemoryLimit { limit_pages: 1 },
        Refusal::BadOutput(Text::from("x")),
        Refusal::BadInput(Text::from("x")),
        Refusal::OutputTooLarge { limit_bytes: 1 },
    ] {
        let judged = ended(Asked::Execute, End::Exited(0), whole(Claim::Refused(refusal.clone())));
        assert_eq!(judged, Judged::Refused(refusal));
    }
}

#[test]
fn code_at_fault_is_refused_where_code_was_asked_about() {
    for asked in [Asked::Precheck, Asked::PrepareToExecute, Asked::Inspect] {
        let judged = ended(asked, End::Exited(0), whole(Claim::Refused(code_refusal())));
        assert_eq!(judged, Judged::Refused(code_refusal()));
    }
}

#[test]
fn a_call_has_no_word_on_its_code_and_a_preparation_none_on_a_call() {
    for (asked, refusal) in [
        (Asked::Execute, code_refusal()),
        (Asked::Execute, Refusal::PrepareMemory { limit_bytes: 1 }),
        (Asked::Execute, Refusal::PrepareCpu { limit_micros: 1 }),
        (Asked::Execute, Refusal::CpuLimit { limit_micros: 1 }),
        (Asked::Precheck, Refusal::PrepareCpu { limit_micros: 1 }),
        (Asked::Precheck, trap()),
        (Asked::Inspect, trap()),
    ] {
        let judged = ended(asked, End::Exited(0), whole(Claim::Refused(refusal)));
        assert_eq!(judged, Judged::Inconclusive(Doubt::Unfitting));
    }
}

#[test]
fn a_claim_that_answers_another_question_is_inconclusive() {
    let prepared = Prepared { artifact_bytes: 1, code_bytes: 1, heap_bytes_peak: 0 };
    for (asked, claim) in [
        (Asked::Execute, Claim::Prepared(prepared.clone())),
        (Asked::Execute, Claim::Inspected),
        (Asked::Execute, ran(RunEnd::Exited(0))),
        (Asked::Execute, ran(RunEnd::Refused(trap()))),
        (Asked::Precheck, ran(RunEnd::Exited(0))),
        (Asked::Run, Claim::Returned { memory_pages: 1, input_shift: 0 }),
        (Asked::Run, Claim::Prepared(prepared.clone())),
        (Asked::Precheck, Claim::Returned { memory_pages: 1, input_shift: 0 }),
        (Asked::Precheck, Claim::ArtifactUnusable(Text::from("x"))),
        (Asked::Inspect, Claim::Prepared(prepared)),
    ] {
        let judged = ended(asked, End::Exited(0), whole(claim));
        assert_eq!(judged, Judged::Inconclusive(Doubt::Unfitting));
    }
}

#[test]
fn a_death_by_signal_or_status_is_inconclusive_whatever_was_said() {
    for reply in [
        Reply::Silence,
        Reply::Partial,
        whole(Claim::Returned { memory_pages: 1, input_shift: 0 }),
        whole(Claim::Refused(trap())),
    ] {
        for asked in ALL {
            assert_eq!(
                ended(asked, End::Signaled(11), reply.clone()),
                Judged::Inconclusive(Doubt::Signaled { signal: 11 })
            );
            assert_eq!(
                ended(asked, End::Exited(3), reply.clone()),
                Judged::Inconclusive(Doubt::Exited { status: 3 })
            );
        }
    }
}

#[test]
fn no_reply_and_no_sensible_reply_are_inconclusive() {
    for asked in ALL {
        for reply in [Reply::Silence, Reply::Partial] {
            assert_eq!(ended(asked, End::Exited(0), reply), Judged::Inconclusive(Doubt::NoReply));
        }
        let surplus = Reply::Malformed(Malformation::Surplus);
        assert_eq!(
            ended(asked, End::Exited(0), surplus),
            Judged::Inconclusive(Doubt::Malformed(Malformation::Surplus))
        );
    }
}

#[test]
fn nothing_that_a_job_says_becomes_a_fault() {
    let text = || Text::from("internal error: host is broken");
    for claim in [
        Claim::Unable(text()),
        Claim::ArtifactUnusable(text()),
        Claim::Refused(Refusal::BadInput(text())),
        Claim::Refused(code_refusal()),
        Claim::Inspected,
        Claim::Returned { memory_pages: u32::MAX, input_shift: u16::MAX },
        ran(RunEnd::Exited(i32::MAX)),
        ran(RunEnd::Refused(code_refusal())),
    ] {
        for asked in ALL {
            for end in [End::Exited(0), End::Exited(-1), End::Signaled(31)] {
                let outcome = Outcome::Ended(evidence(end, whole(claim.clone())), OomKill::None);
                assert!(judge(asked, &LIMITS, Waiting::Possible, outcome).is_ok());
            }
        }
    }
}

#[test]
fn the_cpu_limit_is_the_guests_own_except_when_a_call_waits_for_preparation() {
    let limit_micros = LIMITS.cpu_micros;
    let stop = |asked| stopped(asked, Waiting::Impossible, Stop::CpuLimit).unwrap();
    assert_eq!(stop(Asked::Execute), Judged::Refused(Refusal::CpuLimit { limit_micros }));
    assert_eq!(stop(Asked::Run), Judged::Refused(Refusal::CpuLimit { limit_micros }));
    assert_eq!(stop(Asked::Precheck), Judged::Refused(Refusal::PrepareCpu { limit_micros }));
    let limit = Duration::from_micros(limit_micros);
    assert_eq!(
        stop(Asked::PrepareToExecute),
        Judged::Inconclusive(Doubt::PreparationCpu { limit })
    );
}

/// A program whose stream leads to the caller may have waited for the caller, who is not this machine; one
/// whose streams are all in this host's memory has nobody to wait for but this host.
#[test]
fn the_wall_limit_is_a_fault_only_where_no_job_can_wait() {
    for asked in ALL {
        let stalled = stopped(asked, Waiting::Impossible, Stop::WallLimit);
        assert!(matches!(stalled, Err(Fault::Stalled { .. })));
        let doubtful = stopped(asked, Waiting::Possible, Stop::WallLimit).unwrap();
        assert!(matches!(doubtful, Judged::Inconclusive(Doubt::WallLimit { .. })));
    }
}

#[test]
fn oversized_and_garbled_replies_are_inconclusive() {
    for (stop, what) in
        [(Stop::OutputLimit, Malformation::OutputTooLong), (Stop::Malformed, Malformation::BadBody)]
    {
        for asked in ALL {
            assert_eq!(
                stopped(asked, Waiting::Impossible, stop).unwrap(),
                Judged::Inconclusive(Doubt::Malformed(what))
            );
        }
    }
}

#[test]
fn what_was_wrong_with_a_garbled_reply_is_told() {
    let reply = Reply::Malformed(Malformation::UnknownTag);
    let mut garbled = evidence(End::Signaled(9), reply);
    garbled.stop = Some(Stop::Malformed);
    let judged =
        judge(Asked::Execute, &LIMITS, Waiting::Impossible, Outcome::Ended(garbled, OomKill::None));
    let doubt = Doubt::Malformed(Malformation::UnknownTag);
    assert_eq!(judged.unwrap(), Judged::Inconclusive(doubt));
}

#[test]
fn a_worker_lost_with_a_job_is_inconclusive() {
    for asked in ALL {
        let judged = judge(asked, &LIMITS, Waiting::Impossible, Outcome::LostWith).unwrap();
        assert_eq!(judged, Judged::Inconclusive(Doubt::WorkerLost));
    }
}

#[test]
fn what_goes_wrong_before_a_job_holds_its_work_is_a_fault() {
    for asked in ALL {
        let lost = judge(asked, &LIMITS, Waiting::Impossible, Outcome::LostBefore);
        assert!(matches!(lost, Err(Fault::WorkerLost)));
        let not_started = NotStarted { step: StartStep::Fork, errno: 11 };
        let unstarted =
            judge(asked, &LIMITS, Waiting::Impossible, Outcome::NotStarted(not_started));
        assert!(matches!(unstarted, Err(Fault::NotStarted { step: StartStep::Fork, errno: 11 })));
    }
}

fn killed_for_memory(asked: Asked, end: End, oom_kill: OomKill) -> Judged {
    let outcome = Outcome::Ended(evidence(end, Reply::Silence), oom_kill);
    judge(asked, &LIMITS, Waiting::Impossible, outcome).expect("a guest can bring this about")
}

#[test]
fn a_kill_at_the_jobs_own_memory_limit_is_its_own_and_never_a_fault() {
    for asked in ALL {
        let judged = killed_for_memory(asked, End::Signaled(9), OomKill::OwnLimit);
        assert_eq!(judged, Judged::Inconclusive(Doubt::OutOfMemory));
    }
}

#[test]
fn a_kill_for_the_machines_memory_is_not_held_against_the_job() {
    for asked in ALL {
        let judged = killed_for_memory(asked, End::Signaled(9), OomKill::Elsewhere);
        assert_eq!(judged, Judged::Inconclusive(Doubt::MachineOutOfMemory));
    }
}

#[test]
fn a_kill_for_memory_explains_no_other_end() {
    for oom_kill in [OomKill::OwnLimit, OomKill::Elsewhere] {
        for (end, doubt) in [
            (End::Signaled(11), Doubt::Signaled { signal: 11 }),
            (End::Exited(3), Doubt::Exited { status: 3 }),
            (End::Exited(0), Doubt::NoReply),
        ] {
            let judged = killed_for_memory(Asked::Execute, end, oom_kill);
            assert_eq!(judged, Judged::Inconclusive(doubt));
        }
        let reply = whole(Claim::Returned { memory_pages: 1, input_shift: 0 });
        let outcome = Outcome::Ended(evidence(End::Exited(0), reply), oom_kill);
        let judged = judge(Asked::Execute, &LIMITS, Waiting::Impossible, outcome);
        assert!(matches!(judged, Ok(Judged::Returned { .. })));

        let mut stopped = evidence(End::Signaled(9), Reply::Silence);
        stopped.stop = Some(Stop::CpuLimit);
        let outcome = Outcome::Ended(stopped, oom_kill);
        let judged = judge(Asked::Execute, &LIMITS, Waiting::Impossible, outcome).unwrap();
        assert_eq!(judged, Judged::Refused(Refusal::CpuLimit { limit_micros: 1_000 }));
    }
}
