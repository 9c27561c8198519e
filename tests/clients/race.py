"""Racers on one key with `If-None-Match: *`: exactly one wins each round, and its bytes are the object."""

import threading

from botocore.exceptions import ClientError

from harness import Arguments, equal, main, read_object, running

# S3 answers losers with either; both mean that nothing of theirs was written.
LOST = {("PreconditionFailed", 412), ("ConditionalRequestConflict", 409)}


def race(threads, attempt):
    """Lets `attempt(number)` run in all threads at the same moment; the results in order, errors among them."""
    results = [None] * threads
    gate = threading.Barrier(threads)

    def run(number):
        try:
            gate.wait(60)
            results[number] = attempt(number)
        except ClientError as error:
            results[number] = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        except Exception as error:
            results[number] = error

    runners = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return results


def one_winner(results, what):
    """The number of the only winner."""
    winners = [number for number, result in enumerate(results) if result == "won"]
    others = {repr(result) for result in results if result != "won" and result not in LOST}
    equal(others, set(), f"{what}: answers that are neither a win nor a loss")
    equal(len(winners), 1, f"{what}: winners")
    return winners[0]


def put_if_none_match_has_one_winner(args):
    # Small bodies are inline, large ones are shards: both race.
    sizes = [16, 100_000]
    with running(drive_count=4) as server:
        # A retry would turn the own win into a loss, so each request is made once.
        s3 = server.client(retry=False, max_pool_connections=args.threads)
        s3.create_bucket(Bucket="race")
        for number in range(args.rounds):
            key, size = f"round-{number}", sizes[number % 2]

            def attempt(racer, key=key, size=size):
                s3.put_object(Bucket="race", Key=key, Body=bytes([racer % 256]) * size, IfNoneMatch="*")
                return "won"

            winner = one_winner(race(args.threads, attempt), key)
            equal(read_object(s3, "race", key), bytes([winner % 256]) * size, f"{key}: the winner's bytes")


def put_if_match_has_one_winner(args):
    with running(drive_count=4) as server:
        s3 = server.client(retry=False, max_pool_connections=args.threads)
        s3.create_bucket(Bucket="race")
        etag = s3.put_object(Bucket="race", Key="k", Body=b"start")["ETag"]
        for number in range(args.rounds):

            def attempt(racer, number=number, etag=etag):
                s3.put_object(Bucket="race", Key="k", Body=f"{number} {racer}".encode(), IfMatch=etag)
                return "won"

            winner = one_winner(race(args.threads, attempt), f"If-Match, round {number}")
            equal(read_object(s3, "race", "k"), f"{number} {winner}".encode(), f"round {number}: the winner's bytes")
            etag = s3.head_object(Bucket="race", Key="k")["ETag"]


def completing_uploads_has_one_winner(args):
    with running(drive_count=4) as server:
        s3 = server.client(retry=False, max_pool_connections=args.threads)
        s3.create_bucket(Bucket="race")
        uploads = []
        for racer in range(args.threads):
            up = {"Bucket": "race", "Key": "whole"}
            up["UploadId"] = s3.create_multipart_upload(**up)["UploadId"]
            etag = s3.upload_part(**up, PartNumber=1, Body=bytes([racer % 256]) * 10_000)["ETag"]
            uploads.append((up, {"Parts": [{"PartNumber": 1, "ETag": etag}]}))

        def attempt(racer):
            up, parts = uploads[racer]
            s3.complete_multipart_upload(**up, MultipartUpload=parts, IfNoneMatch="*")
            return "won"

        winner = one_winner(race(args.threads, attempt), "completing")
        equal(read_object(s3, "race", "whole"), bytes([winner % 256]) * 10_000, "the winner's bytes")


CHECKS = [put_if_none_match_has_one_winner, put_if_match_has_one_winner, completing_uploads_has_one_winner]

if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=160)
    arguments.add_argument("--threads", type=int, default=50)
    arguments.add_argument("--rounds", type=int, default=20)
    main(CHECKS, arguments)
