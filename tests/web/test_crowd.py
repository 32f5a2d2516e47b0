import concurrent.futures


def test_a_hundred_searches_at_once_are_all_answered(client, ids):
  keys = [ids[f"below/{number}"] for number in range(6, 10)]
  asked = [{"picture": keys[n % 4], "box": f"0,0,{0.5 + n % 5 / 10},1"} for n in range(100)]

  def search(number):
    return client.get("/api/search", params={**asked[number], "limit": 1})

  with concurrent.futures.ThreadPoolExecutor(100) as pool:
    futures = [pool.submit(search, number) for number in range(100)]
    # Who waits for a search holds up nothing else.
    assert client.get("/api/status").status_code == 200
    answers = [future.result() for future in futures]
  assert [answer.status_code for answer in answers] == [200] * 100
  first = [answer.json()["results"][0]["id"] for answer in answers]
  assert first == [question["picture"] for question in asked]
