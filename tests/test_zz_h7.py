import time, os
from tests.farm_runs import *
from tests.test_azure_chaos import *
pytest_plugins=["tests.batch_fixtures", "tests.cloud_fixtures"]
def test_one(new_cloud, tmp_path):
    cloud=new_cloud(pool_id=None)
    storm=Storm(cloud, card(tmp_path/"shot.testcard", "1-40", seconds=0.15), 1)
    storm.gust()
    farm=cloud.farm()
    t=time.time()
    p=farm.start("submit", "--chunk", 2,"-o",farm.folder/"out","--",storm.scene, RENDERFARM_DEBUG="1")
    for i in range(70):
        time.sleep(0.5)
        print(round(time.time()-t,1), storm._record(), cloud.state()["requests"], cloud.state()["faults"], {n["state"] for n in cloud.nodes().values()})
        if p.poll() is not None: break
    p.kill()
    print(p.communicate())
