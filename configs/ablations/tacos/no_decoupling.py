# Nothing private: one vector for each modality, and nothing that keeps the parts apart.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(decoupler=dict(private_dim=0), decorrelation=None, confusion=None)
