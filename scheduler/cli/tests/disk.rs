//! A disk that is full, refuses writes or is or turns read-only: clear errors, nothing that
//! was acknowledged is lost, and work continues once it can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use support::*;
use tonic::{Code, Status};

const INPUT: usize = 50_000;

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A small disk of its own, which only root may make.
struct Disk(PathBuf);

impl Disk {
    fn of(folder: &Path, size: &str) -> Option<Self> {
        let at = folder.join("disk");
        std::fs::create_dir(&at).unwrap();
        let option = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &option, "tmpfs"];
        if ran(Command::new("mount").args(mount).arg(&at)) {
            return Some(Self(at));
        }
        println!("skipped: this user may not mount a disk of its own");
        None
    }

    fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        assert!(ran(Command::new("mount")
            .args(["-o", &option])
            .arg(&self.0)));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        ran(Command::new("umount").arg("-l").arg(&self.0));
    }
}

async fn start_large(client: &Client, id: &str) -> Result<(), Status> {
    let start = CreateInstanceRequest {
        input: Some("x".repeat(INPUT)),
        ..new_instance(id)
    };
    let mut client = client.clone();
    client.start_instance(to_hub("default", start)).await?;
    Ok(())
}

/// Starts instances until that is refused; returns those that were acknowledged.
async fn fill(client: &Client) -> (Vec<String>, Status) {
    let mut acknowledged = Vec::new();
    loop {
        let id = format!("i{}", acknowledged.len());
        match start_large(client, &id).await {
            Ok(()) => acknowledged.push(id),
            Err(status) => return (acknowledged, status),
        }
        assert!(acknowledged.len() < 10_000, "the disk gets full");
    }
}

/// A worker's stream and the turn that it holds.
async fn hold_a_turn(client: &Client) -> (tonic::Streaming<WorkItem>, String) {
    start(client, "default", "held").await.unwrap();
    let ask = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        ..Default::default()
    };
    let asked = client.clone().get_work_items(to_hub("default", ask)).await;
    let mut stream = asked.unwrap().into_inner();
    let item = stream.message().await.unwrap().unwrap();
    assert!(matches!(
        item.request,
        Some(work_item::Request::OrchestratorRequest(_))
    ));
    (stream, item.completion_token)
}

async fn complete(client: &Client, token: &str) -> Result<(), Status> {
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Completed as i32,
        result: Some("x".repeat(INPUT)),
        ..Default::default()
    };
    let response = OrchestratorResponse {
        completion_token: token.to_owned(),
        actions: vec![OrchestratorAction {
            id: 0,
            orchestrator_action_type: Some(Action::CompleteOrchestration(end)),
        }],
        ..Default::default()
    };
    let mut client = client.clone();
    client
        .complete_orchestrator_task(to_hub("default", response))
        .await?;
    Ok(())
}

fn is_clear(refused: &Status, code: Code) {
    assert_eq!(refused.code(), code, "{refused:?}");
    for says in ["disk", "nothing was written"] {
        assert!(refused.message().contains(says), "{refused:?}");
    }
}

/// Everything that holds while no write gets through, and again once it does.
async fn refuses_and_recovers<T>(
    process: Process,
    folder: &Path,
    code: Code,
    take_away: impl FnOnce(&Process) -> T,
    make_room: impl FnOnce(&Process, T),
) {
    let client = process.client();
    let (stream, token) = hold_a_turn(&client).await;
    start(&client, "default", "first").await.unwrap();
    let taken = take_away(&process);
    let (acknowledged, refused) = fill(&client).await;
    is_clear(&refused, code);
    // A worker gets the error too, and keeps its work items.
    is_clear(&complete(&client, &token).await.unwrap_err(), code);
    // What is left has room for the small write of a health check now and then.
    let mut asked = 0;
    let said = loop {
        let (health, said) = http_as(&process.http, None, "/healthz").await;
        if health == 503 {
            break said;
        }
        asked += 1;
        assert!(asked < 100, "a health check writes: {said}");
    };
    assert!(said.contains("disk"), "{said}");
    // Reading needs no room.
    for id in &acknowledged {
        assert!(exists(&client, "default", id).await, "{id}");
    }

    make_room(&process, taken);
    let begun = Instant::now();
    while let Err(status) = start_large(&client, "after").await {
        assert!(begun.elapsed() < PATIENCE, "writes go on: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    complete(&client, &token).await.unwrap();
    drop(stream);
    assert_eq!(http_as(&process.http, None, "/healthz").await.0, 200);
    process.kill();
    let process = Process::start(folder, &[]);
    let client = process.client();
    for id in acknowledged
        .iter()
        .map(String::as_str)
        .chain(["held", "first", "after"])
    {
        assert!(exists(&client, "default", id).await, "{id}");
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_work_continues_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::of(folder.path(), "8m") else {
        return;
    };
    let (data, ballast) = (disk.0.join("data"), disk.0.join("ballast"));
    std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let process = Process::start(&data, &[]);
    let make_room = |_: &Process, ()| std::fs::remove_file(&ballast).unwrap();
    refuses_and_recovers(process, &data, Code::ResourceExhausted, |_| (), make_room).await;
}

#[tokio::test]
async fn a_disk_that_takes_no_write_is_reported_and_work_continues_once_it_does() {
    if !ran(Command::new("prlimit").arg("--version")) {
        println!("skipped: there is no prlimit to lift the limit of a running process");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Files may have 2 MiB: a write beyond that fails as on a disk that has a fault.
    let process = Process::start_limited(&data, 2 << 20);
    let make_room = |process: &Process, ()| {
        let pid = process.id().to_string();
        let lift = ["--pid", &pid, "--fsize=unlimited"];
        assert!(ran(Command::new("prlimit").args(lift)));
    };
    refuses_and_recovers(process, &data, Code::Unavailable, |_| (), make_room).await;
}

/// Has the system answer a process's writes to a file as a read-only disk does.
struct ReadOnly {
    strace: Child,
    /// Kept open, since strace ends once nothing reads from it.
    _said: BufReader<ChildStderr>,
}

impl ReadOnly {
    /// None if this user may not do so.
    fn of(process: &Process, file: &Path) -> Option<Self> {
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=write,pwrite64"])
            .args(["-e", "inject=write,pwrite64:error=EROFS", "-P"])
            .arg(file)
            .args(["-p", &process.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if line.contains("attached") {
            return Some(Self {
                strace,
                _said: said,
            });
        }
        strace.wait().unwrap();
        None
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // It detaches from the process when asked to.
        ran(Command::new("kill").args(["-INT", &self.strace.id().to_string()]));
        let _ = self.strace.wait();
    }
}

#[tokio::test]
async fn a_disk_that_is_read_only_for_a_while_is_reported_and_work_continues_once_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = data.join("scheduler.sqlite3-wal");
    let process = Process::start(&data, &[]);
    if ReadOnly::of(&process, &file).is_none() {
        println!("skipped: there is no strace that may have system calls of others fail");
        return;
    }
    let take_away = |process: &Process| ReadOnly::of(process, &file).unwrap();
    let make_room = |_: &Process, read_only: ReadOnly| drop(read_only);
    refuses_and_recovers(process, &data, Code::Unavailable, take_away, make_room).await;
}

/// A small ext4 disk in a file, that turns read-only as on an error of the device.
struct Failing {
    image: PathBuf,
    at: PathBuf,
}

impl Failing {
    fn of(folder: &Path) -> Option<Self> {
        let disk = Self {
            image: folder.join("image"),
            at: folder.join("failing"),
        };
        std::fs::create_dir(&disk.at).unwrap();
        let image = std::fs::File::create(&disk.image).unwrap();
        image.set_len(64 << 20).unwrap();
        let made = ran(Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&disk.image));
        if made && disk.mount() && disk.trigger().is_some() {
            return Some(disk);
        }
        println!("skipped: this user, or this system, has no disk that can be made to fail");
        None
    }

    fn mount(&self) -> bool {
        let mount = ["-t", "ext4", "-o", "loop,errors=remount-ro"];
        ran(Command::new("mount")
            .args(mount)
            .arg(&self.image)
            .arg(&self.at))
    }

    fn unmount(&self) {
        ran(Command::new("umount").arg(&self.at));
    }

    /// Where the file system is told that it has an error.
    fn trigger(&self) -> Option<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
        let at = self.at.to_str()?;
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(at))?;
        let device = line.split(' ').next()?.strip_prefix("/dev/")?;
        let trigger = Path::new("/sys/fs/ext4")
            .join(device)
            .join("trigger_fs_error");
        trigger.exists().then_some(trigger)
    }

    fn fail(&self) {
        std::fs::write(self.trigger().unwrap(), "test").unwrap();
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        ran(Command::new("umount").arg("-l").arg(&self.at));
    }
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_reported_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Failing::of(folder.path()) else {
        return;
    };
    let data = disk.at.join("data");
    let process = Process::start(&data, &[]);
    let client = process.client();
    let (_stream, token) = hold_a_turn(&client).await;
    start_large(&client, "before").await.unwrap();
    disk.fail();
    is_clear(
        &start_large(&client, "while").await.unwrap_err(),
        Code::Unavailable,
    );
    is_clear(
        &complete(&client, &token).await.unwrap_err(),
        Code::Unavailable,
    );
    let (health, said) = http_as(&process.http, None, "/healthz").await;
    assert_eq!(health, 503, "{said}");
    assert!(exists(&client, "default", "before").await, "it still reads");
    process.kill();

    // Remounted, as after a repair.
    disk.unmount();
    assert!(disk.mount());
    let process = Process::start(&data, &[]);
    let client = process.client();
    for (id, there) in [("held", true), ("before", true), ("while", false)] {
        assert_eq!(exists(&client, "default", id).await, there, "{id}");
    }
    start_large(&client, "after").await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_is_reported_at_startup_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::of(folder.path(), "8m") else {
        return;
    };
    let data = disk.0.join("data");
    let process = Process::start(&data, &[]);
    start(&process.client(), "default", "a").await.unwrap();
    assert!(process.terminate().success());

    disk.remount("ro");
    let Err(said) = Process::try_start(&data, &[]) else {
        panic!("it cannot work there")
    };
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    assert!(
        said.contains(&*data.to_string_lossy()) || said.contains("writable"),
        "{said}"
    );

    disk.remount("rw");
    let process = Process::start(&data, &[]);
    assert!(exists(&process.client(), "default", "a").await);
}
