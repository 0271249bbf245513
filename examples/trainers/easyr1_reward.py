"""EasyR1: worker.reward.reward_function=examples/trainers/easyr1_reward.py:compute_score, with reward_type: batch

EasyR1 gives the answer and `ground_truth` alone: put question and pictures there as JSON, {"question", "images"}. Pictures are data URLs or
names of registered ones (POST /v1/media).
"""

import json
import os
import urllib.request

SERVER = os.environ.get("VL_REWARD_SERVER", "http://127.0.0.1:8000")
HEADERS = {"content-type": "application/json", "authorization": "Bearer " + os.environ.get("VL_REWARD_KEY", "")}


def record(reward_input):
    truth = json.loads(reward_input["ground_truth"])
    parts = [{"type": "image", "image": image} for image in truth.get("images", [])]
    question = {"role": "user", "content": parts + [{"type": "text", "text": truth["question"]}]}
    return {"messages": [question], "responses": [reward_input["response"]]}


def compute_score(reward_inputs):
    body = json.dumps({"items": [record(reward_input) for reward_input in reward_inputs]}).encode()
    with urllib.request.urlopen(urllib.request.Request(SERVER + "/v1/rewards", body, HEADERS)) as response:
        results = json.load(response)["data"]
    failed = [result["error"]["message"] for result in results if "error" in result]
    if failed:
        raise RuntimeError(failed[0])
    return [{"overall": result["scores"][0]} for result in results]
